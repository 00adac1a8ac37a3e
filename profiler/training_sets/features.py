"""What was known of a device at the moment each of its requests arrived; pure functions of arrays.

Everything is asked of the past strictly: of arrivals and completions with an earlier time, however
little earlier.  So nothing that happens at a request's moment or later can change its features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from edgeprof.profiler.training_sets.schema import HISTORY, RECENT_NS

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]

NEVER = 1 << 62
"""A completion that was not seen: later than any time."""
UNKNOWN = -1
"""A time, sector or length that was not seen."""
SECTOR_BYTES = 512

OPERATIONS = ("read", "write", "discard", "flush", "other")
READ, WRITE, OTHER = 0, 1, 4


class Values(NamedTuple):
    """A feature of each request, and where it is known."""

    values: npt.NDArray[np.int64] | npt.NDArray[np.float64]
    known: Mask


@dataclass(frozen=True)
class Arrivals:
    """The requests of one device within one window of capture, in the order of their moments.

    Attributes:
        moment: when it arrived, ns.
        completed: ns; `NEVER` where that was not seen within the window.
        op: index into `OPERATIONS`.
        sector: where it began at its moment; `UNKNOWN` where it has no place.
        length: bytes at its moment.
        final_length: bytes it was issued with, known from its completion on.
    """

    moment: Int64
    completed: Int64
    op: Int32
    sector: Int64
    length: Int64
    final_length: Int64


def features(arrivals: Arrivals, begin_ns: int) -> dict[str, Values]:
    """Features by name, one value a request; ``begin_ns`` is when the window began."""
    moment = arrivals.moment
    earlier = np.searchsorted(moment, moment, side="left")
    ended = np.searchsorted(np.sort(arrivals.completed), moment, side="left")
    queue = earlier - ended
    found = {"queue": Values(queue, np.ones(len(moment), np.bool_))}
    for back in range(1, HISTORY + 1):
        found[f"queue_{back}"] = _taken(queue, earlier - back)
    found["sector_distance"] = _sector_distance(arrivals)
    for name, op in (("read", READ), ("write", WRITE)):
        found |= _last_latencies(arrivals, name, op)
    found["since_write"] = _since_write(arrivals)
    found["written_100ms"] = _recently_written(arrivals, begin_ns)
    found["ahead"] = _ahead(arrivals)
    return found


def _taken(values: npt.NDArray[np.int64] | npt.NDArray[np.float64], at: Int64) -> Values:
    """The values at an index, unknown where it is negative."""
    if len(values) == 0:
        return Values(np.zeros(len(at), np.int64), np.zeros(len(at), np.bool_))
    return Values(values[np.maximum(at, 0)], at >= 0)


def _sector_distance(arrivals: Arrivals) -> Values:
    placed = np.flatnonzero(arrivals.sector != UNKNOWN)
    end = arrivals.sector[placed] + arrivals.length[placed] // SECTOR_BYTES
    last = _taken(end, np.searchsorted(arrivals.moment[placed], arrivals.moment, side="left") - 1)
    distance: Int64 = arrivals.sector - last.values.astype(np.int64)
    return Values(distance, last.known & (arrivals.sector != UNKNOWN))


def _last_latencies(arrivals: Arrivals, name: str, op: int) -> dict[str, Values]:
    rows = np.flatnonzero((arrivals.op == op) & (arrivals.completed != NEVER))
    rows = rows[np.argsort(arrivals.completed[rows], kind="stable")]
    latency = (arrivals.completed[rows] - arrivals.moment[rows]) / 1e9
    before = np.searchsorted(arrivals.completed[rows], arrivals.moment, side="left")
    return {f"{name}_latency_{back}": _taken(latency, before - back) for back in range(1, HISTORY + 1)}


def _since_write(arrivals: Arrivals) -> Values:
    writes = arrivals.moment[arrivals.op == WRITE]
    last = _taken(writes, np.searchsorted(writes, arrivals.moment, side="left") - 1)
    elapsed: npt.NDArray[np.float64] = (arrivals.moment - last.values) / 1e9
    return Values(elapsed, last.known)


def _recently_written(arrivals: Arrivals, begin_ns: int) -> Values:
    """Of writes that completed: how long a write still in flight will be when it is issued is not known yet."""
    rows = np.flatnonzero((arrivals.op == WRITE) & (arrivals.completed != NEVER))
    rows = rows[np.argsort(arrivals.completed[rows], kind="stable")]
    total = np.concatenate([[0], np.cumsum(arrivals.final_length[rows])])
    completed = arrivals.completed[rows]
    until = np.searchsorted(completed, arrivals.moment, side="left")
    since = np.searchsorted(completed, arrivals.moment - RECENT_NS, side="left")
    return Values(total[until] - total[since], arrivals.moment - begin_ns >= RECENT_NS)


def _ahead(arrivals: Arrivals) -> Values:
    """Bytes that arrived less those that completed, since the device last had nothing to do.

    A merge makes a request longer after its arrival, so more may complete than arrived: 0 then.
    """
    done = np.flatnonzero(arrivals.completed != NEVER)
    times = np.concatenate([arrivals.moment, arrivals.completed[done]])
    order = np.argsort(times, kind="stable")  # at one time, arrivals come first
    requests = np.concatenate([np.ones(len(arrivals.moment), np.int64), np.full(len(done), -1)])[order]
    change = np.concatenate([arrivals.length, -arrivals.final_length[done]])[order]
    idle, total = np.cumsum(requests) == 0, np.concatenate([[0], np.cumsum(change)])
    last_idle = np.maximum.accumulate(np.concatenate([[0], np.where(idle, np.arange(1, len(idle) + 1), 0)]))
    now = np.searchsorted(times[order], arrivals.moment, side="left")
    left = np.maximum(total[now] - total[last_idle[now]], 0)
    return Values(left, np.ones(len(left), np.bool_))
