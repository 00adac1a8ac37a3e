"""Makes requests of actions: allocated, inserted, issued, completed, one row each.

Actions of one request share device, kind of operation and first sector.  Sorted
by that key and time, a request is a run of rising stages, and a new one begins
where the stage falls.  Where requests at one place overlap in time, a queue
decides instead (`overlaps`); what a request shares with others (front merges,
partial completions, flushes) is settled on whole requests (`settle`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block import overlaps
from edgeprof.collectors.block.actions import (
    NO_SECTOR,
    SECTOR_BYTES,
    Actions,
    Int32,
    Int64,
    Mask,
    UInt8,
    UInt64,
)
from edgeprof.collectors.block.encoding import encode
from edgeprof.collectors.block.kinds import FLUSH, OPERATIONS, OTHER, kinds_of
from edgeprof.collectors.block.overlaps import STAGES
from edgeprof.collectors.block.settle import Rows, settle


@dataclass(frozen=True)
class Requests:
    """Columns of equal length, a row a request, sorted by the first time seen.

    Times are CLOCK_MONOTONIC ns; the masks ``has_*`` say where each was seen, and ``has_asker`` where ``pid`` and
    ``comm`` (an index into ``names``) are known.  ``sector`` and ``length`` are those of the issue, with all merges;
    ``inserted_sector`` and ``inserted_length`` those of the insertion, of meaning where one was seen.  A sector is
    `NO_SECTOR` where nothing is transferred.  ``kind`` see `edgeprof.collectors.block.kinds`, ``error`` a negative
    errno, of meaning where a completion was seen.
    """

    queued: Int64
    inserted: Int64
    issued: Int64
    completed: Int64
    has_queued: Mask
    has_inserted: Mask
    has_issued: Mask
    has_completed: Mask
    dev: Int32
    sector: Int64
    length: Int64
    kind: UInt8
    rwbs: UInt64
    pid: Int32
    comm: Int32
    has_asker: Mask
    error: Int32
    inserted_sector: Int64
    inserted_length: Int64
    names: tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self.queued)


def pair(actions: Actions, lossy: bool = False) -> Requests:
    """Pair actions into requests.

    A request that was requeued counts from its last issue.  Its length is the one it was issued
    with, so merges are in it.  A request absorbed by another has no row.

    Args:
        actions: in any order.
        lossy: actions are known to be missing (events lost, or windows of time only); then, of several
            open requests at one place, the newest is taken instead of the oldest.
    """
    stage = STAGES[actions.action]
    wanted = stage != overlaps.NO_STAGE
    if not bool(wanted.all()):
        actions, stage = actions.take(wanted), stage[wanted]
    if len(actions) == 0:
        nothing = np.zeros(0, np.int64)
        zero = np.zeros(0, np.uint8)
        return _requests(actions, Rows(nothing, nothing, nothing, nothing, zero, zero.astype(np.int32), zero > 0))
    kind = kinds_of(actions)
    fronts = np.flatnonzero(actions.action == act.FRONTMERGE)
    if len(fronts):
        closing = _close_old_places(actions.take(fronts))
        actions = act.concatenate([actions, closing])
        stage, kind = np.concatenate([stage, STAGES[closing.action]]), np.concatenate([kind, kind[fronts]])
    place, width = _places(actions, kind)
    event, ordered_place = _sort_by_place(actions.time_ns, place, width)
    ordered_stage = stage[event]
    row, count = overlaps.assign(ordered_place, ordered_stage, lossy)
    rows = _rows(actions, kind, event, ordered_stage, row, count, fronts)
    return _requests(actions, settle(actions, rows))


def _close_old_places(fronts: Actions) -> Actions:
    """A front merge moves a request to a lower sector: its old place is closed, at the new one it begins anew."""
    old = act.clip_sectors(fronts.sector + fronts.length // SECTOR_BYTES)
    return act.make(fronts.time_ns, act.BACKMERGE, fronts.dev, old, fronts.length, fronts.rwbs)


def _places(actions: Actions, kind: UInt8) -> tuple[Int64, int]:
    """One number for device, kind and sector, and how many bits it takes."""
    owner, devices = kind.astype(np.int64), 1
    if bool((actions.dev != actions.dev[0]).any()):
        codes, positions = encode(actions.dev.astype(np.uint64))
        owner += codes.astype(np.int64) * len(OPERATIONS)
        devices = len(positions)
    sector = actions.sector - NO_SECTOR
    if bool((kind == FLUSH).any()):  # a flush command's sector is 0 when issued and -1 when completed
        sector[kind == FLUSH] = 0
    sector_bits = int(sector.max()).bit_length()
    width = (devices * len(OPERATIONS)).bit_length() + sector_bits
    if width + len(actions).bit_length() <= 63:
        owner <<= sector_bits
        owner |= sector
        return owner, width
    numbers, places = encode(np.stack([owner, sector], axis=1).astype(np.uint64))
    return numbers.astype(np.int64), len(places).bit_length()


def _sort_by_place(time_ns: Int64, place: Int64, width: int) -> tuple[Int64, Int64]:
    """Event numbers sorted by place, then time, then input order; and the places in that order."""
    in_time: Int64 | None = None
    if bool((time_ns[1:] < time_ns[:-1]).any()):
        in_time = _order(time_ns)
        place = place[in_time]
    bits = len(place).bit_length()
    assert width + bits <= 63
    combined = place << bits
    combined |= np.arange(len(place))
    combined.sort()
    rank = combined & ((1 << bits) - 1)
    combined >>= bits
    return (rank if in_time is None else in_time[rank]), combined


def _order(values: Int64) -> Int64:
    """A stable argsort: a plain sort of numbers that hold value and position is several times faster than another."""
    lowest, bits = int(values.min()), len(values).bit_length()
    if (int(values.max()) - lowest).bit_length() + bits > 63:
        return np.argsort(values, kind="stable")
    combined: Int64 = (values - lowest) << bits
    combined |= np.arange(len(values))
    combined.sort()
    combined &= (1 << bits) - 1
    return combined


def _rows(actions: Actions, kind: UInt8, event: Int64, stage: UInt8, row: Int64, count: int, fronts: Int64) -> Rows:
    """Gather the actions of each row: the last of each stage, but of insertions the first."""

    def of_stage(number: int, first: bool = False) -> Int64:
        found = np.full(count, -1, np.int64)
        at = np.flatnonzero(stage == number)
        if first:
            at = at[::-1]
        found[row[at]] = event[at]
        return found

    start, insert = of_stage(overlaps.START), of_stage(overlaps.INSERTED, first=True)
    issue, complete = of_stage(overlaps.ISSUED), of_stage(overlaps.COMPLETED)
    kinds = np.zeros(count, np.uint8)
    kinds[row] = kind[event]
    absorbed = np.zeros(count, np.bool_)
    absorbed[row[stage == overlaps.ABSORBED]] = True
    parent: Int64 | None = None
    if len(fronts):
        home = np.empty(len(actions), np.int64)
        home[event] = row
        parent = np.full(count, -1, np.int64)
        child, above = home[fronts], home[len(actions) - len(fronts) :]
        parent[child] = above
        start[child] = -1
        parent[parent == np.arange(count)] = -1
    return Rows(start, insert, issue, complete, kinds, actions.error[complete], absorbed, parent)


def _requests(actions: Actions, rows: Rows) -> Requests:
    time = actions.time_ns
    first = _first_seen(rows.start, rows.insert, rows.issue, rows.complete)
    order = _order(time[first]) if len(first) else first
    start, insert, issue, complete = (values[order] for values in (rows.start, rows.insert, rows.issue, rows.complete))
    kind = rows.kind[order]
    # A flush command or a pass-through request is not made of a bio: whoever inserted or issued it asked for it.
    own = (kind == FLUSH) | (kind == OTHER)
    asker = np.where(own, _first_seen(start, insert, issue), start) if bool(own.any()) else start
    sized = _first_seen(issue, complete, start, insert)
    length = actions.length[sized]
    return Requests(
        queued=time[start],
        inserted=time[insert],
        issued=time[issue],
        completed=time[complete],
        has_queued=start >= 0,
        has_inserted=insert >= 0,
        has_issued=issue >= 0,
        has_completed=complete >= 0,
        dev=actions.dev[sized],
        sector=np.where(length == 0, NO_SECTOR, actions.sector[sized]),
        length=length,
        kind=kind,
        rwbs=actions.rwbs[_first_seen(start, issue, complete, insert)],
        pid=actions.pid[asker],
        comm=actions.comm[asker],
        has_asker=asker >= 0,
        error=rows.error[order],
        inserted_sector=np.where(actions.length[insert] == 0, NO_SECTOR, actions.sector[insert]),
        inserted_length=actions.length[insert],
        names=actions.names,
    )


def _first_seen(*choices: Int64) -> Int64:
    """The first of the choices that is not -1, row by row."""
    seen = choices[0]
    for choice in choices[1:]:
        missing = np.flatnonzero(seen < 0)
        if len(missing) == 0:
            break
        seen = seen.copy()
        seen[missing] = choice[missing]
    return seen
