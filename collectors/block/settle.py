"""Settles what requests share: front merges, partial completions, flushes, merges of whole requests.

Works on rows, each of which names the actions it was made of; an action of -1
was not seen.  All steps are array operations over the few rows they concern.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgeprof.collectors.block.actions import SECTOR_BYTES, Actions, Int32, Int64, Mask, UInt8
from edgeprof.collectors.block.kinds import EMPTY_FLUSH, FLUSH, READ, WRITE, asks_durable, asks_flush_before

_MOST_PARTS = 64
"""Partial completions that a request is followed through; drivers complete in one part, or in very few."""


@dataclass(frozen=True)
class Rows:
    """Requests as the numbers of their actions (-1: not seen); ``kind`` see `edgeprof.collectors.block.kinds`.

    ``error``: negative errno of the completion.  ``absorbed``: a merge with another request was seen.
    ``parent``: the row that this one continues after a front merge, else -1; None when there were none.
    """

    start: Int64
    insert: Int64
    issue: Int64
    complete: Int64
    kind: UInt8
    error: Int32
    absorbed: Mask
    parent: Int64 | None = None

    def keep(self, rows: Mask) -> Rows:
        """The rows of a mask; parents are settled by then."""
        return Rows(*(getattr(self, name)[rows] for name in _COLUMNS))


_COLUMNS = ("start", "insert", "issue", "complete", "kind", "error", "absorbed")


def settle(actions: Actions, rows: Rows) -> Rows:
    """The rows that are requests of their own, completed by what others knew of them."""
    rows = _follow_front_merges(rows)
    alive = (rows.issue >= 0) | (rows.complete >= 0)
    keep = alive | (((rows.start >= 0) | (rows.insert >= 0)) & ~rows.absorbed)
    if not bool(keep.all()):
        rows = rows.keep(keep)
    rows = _join_partial_completions(actions, rows)
    if bool(np.isin(rows.kind, (FLUSH, EMPTY_FLUSH)).any()):
        rows = _complete_durable_writes(actions, rows)
        rows = _join_flushes(actions, rows)
    return rows


def _follow_front_merges(rows: Rows) -> Rows:
    """A request that was merged to at its front began in another row: take start and insertion from there."""
    if rows.parent is None:
        return rows
    parent, start, insert = rows.parent.copy(), rows.start.copy(), rows.insert.copy()
    for _ in range(64):  # the distance followed doubles each time
        child = np.flatnonzero(parent >= 0)
        if len(child) == 0:
            break
        above = parent[child]
        start[child] = start[above]
        insert[child] = np.where(insert[child] >= 0, insert[child], insert[above])
        parent[child] = parent[above]
    return replace(rows, start=start, insert=insert, parent=None)


def previous(groups: tuple[Int64, ...], times: Int64, other_groups: tuple[Int64, ...], other_times: Int64) -> Int64:
    """For each of the others, which row of the same group is the last at or before its time; -1 where none is."""
    count = len(times)
    columns = [np.concatenate([one, other]) for one, other in zip(groups, other_groups, strict=True)]
    when = np.concatenate([times, other_times])
    is_other = np.arange(len(when)) >= count
    order = np.lexsort((is_other, when, *columns))
    new_group = np.zeros(len(order), np.bool_)
    new_group[:1] = True
    for column in columns:
        new_group[1:] |= column[order][1:] != column[order][:-1]
    places = np.arange(len(order))
    group_begin = np.maximum.accumulate(np.where(new_group, places, 0))
    last_row = np.maximum.accumulate(np.where(is_other[order], -1, places))
    found = np.where(last_row >= group_begin, order[np.maximum(last_row, 0)], -1)
    answer = np.full(len(other_times), -1, np.int64)
    others = is_other[order]
    answer[order[others] - count] = found[others]
    return answer


def _join_partial_completions(actions: Actions, rows: Rows) -> Rows:
    """A request may complete in parts, each at the sector where the part before ended."""
    size = actions.length
    both = (rows.issue >= 0) & (rows.complete >= 0) & ((rows.kind == READ) | (rows.kind == WRITE))
    partial = np.flatnonzero(both & (size[rows.complete] < size[rows.issue]) & (size[rows.complete] > 0))
    if len(partial) == 0:
        return rows
    orphans = np.flatnonzero((rows.complete >= 0) & (rows.issue < 0) & (rows.start < 0) & (rows.insert < 0))
    used = np.zeros(len(orphans), np.bool_)
    complete, error = rows.complete.copy(), rows.error.copy()
    done = size[complete[partial]]
    for _ in range(_MOST_PARTS):
        free = np.flatnonzero(~used)
        want = np.flatnonzero(done < size[rows.issue[partial]])
        if len(free) == 0 or len(want) == 0:
            break
        row, orphan = partial[want], orphans[free]
        next_sector = actions.sector[rows.issue[row]] + done[want] // SECTOR_BYTES
        asking = (actions.dev[rows.issue[row]].astype(np.int64), rows.kind[row].astype(np.int64), next_sector)
        event = rows.complete[orphan]
        offered = (actions.dev[event].astype(np.int64), rows.kind[orphan].astype(np.int64), actions.sector[event])
        # Negated times turn "last before" into "first after".
        match = previous(offered, -actions.time_ns[event], asking, -actions.time_ns[complete[row]])
        _, chosen = np.unique(match, return_index=True)
        chosen = chosen[match[chosen] >= 0]
        if len(chosen) == 0:
            break
        part = rows.complete[orphan[match[chosen]]]
        complete[row[chosen]] = part
        error[row[chosen]] = np.where(error[row[chosen]] != 0, error[row[chosen]], actions.error[part])
        done[want[chosen]] += np.maximum(size[part], 1)
        used[free[match[chosen]]] = True
    complete[partial[done < size[rows.issue[partial]]]] = -1
    keep = np.ones(len(complete), np.bool_)
    keep[orphans[used]] = False
    return replace(rows, complete=complete, error=error).keep(keep)


def _complete_durable_writes(actions: Actions, rows: Rows) -> Rows:
    """On a device without FUA, a FUA write ends with the flush after it: a second, empty completion at its sector."""
    ends = np.flatnonzero((rows.kind == EMPTY_FLUSH) & (rows.start < 0) & (rows.complete >= 0))
    writes = np.flatnonzero((rows.kind == WRITE) & (rows.start >= 0) & (rows.complete >= 0))
    writes = writes[asks_durable(actions.rwbs[rows.start[writes]])]
    if len(ends) == 0 or len(writes) == 0:
        return rows
    done, end = rows.complete[writes], rows.complete[ends]
    match = previous(
        (actions.dev[done].astype(np.int64), actions.sector[done]),
        actions.time_ns[done],
        (actions.dev[end].astype(np.int64), actions.sector[end]),
        actions.time_ns[end],
    )
    complete = rows.complete.copy()
    complete[writes[match[match >= 0]]] = end[match >= 0]
    keep = np.ones(len(complete), np.bool_)
    keep[ends[match >= 0]] = False
    return replace(rows, complete=complete).keep(keep)


def _join_flushes(actions: Actions, rows: Rows) -> Rows:
    """The kernel's flush command serves the requests that wait for it, and as in diskstats only these count.

    An empty flush is issued when the command that served it was: the last one completed before it.
    """
    time, dev = actions.time_ns, actions.dev.astype(np.int64)
    commands = np.flatnonzero((rows.kind == FLUSH) & (rows.issue >= 0))
    waiting = np.flatnonzero(rows.start >= 0)
    flags = actions.rwbs[rows.start[waiting]]
    waiting = waiting[asks_flush_before(flags) | asks_durable(flags) | (rows.kind[waiting] == EMPTY_FLUSH)]
    if len(commands) == 0 or len(waiting) == 0:
        return rows
    issue = rows.issue.copy()
    served = commands[rows.complete[commands] >= 0]
    ended = waiting[(rows.kind[waiting] == EMPTY_FLUSH) & (rows.complete[waiting] >= 0)]
    before = previous(
        (dev[rows.complete[served]],),
        time[rows.complete[served]],
        (dev[rows.complete[ended]],),
        time[rows.complete[ended]],
    )
    fits = before >= 0
    fits[fits] = time[rows.issue[served[before[fits]]]] >= time[rows.start[ended[fits]]]
    issue[ended[fits]] = rows.issue[served[before[fits]]]
    asked = previous(
        (dev[rows.start[waiting]],), time[rows.start[waiting]], (dev[rows.issue[commands]],), time[rows.issue[commands]]
    )
    keep = np.ones(len(issue), np.bool_)
    had = np.flatnonzero(asked >= 0)
    command, request = commands[had], waiting[asked[had]]
    unended = (rows.complete[request] < 0) | (rows.complete[command] < 0)
    covered = unended | (time[rows.complete[request]] >= time[rows.complete[command]])
    keep[command[covered]] = False
    return replace(rows, issue=issue).keep(keep)
