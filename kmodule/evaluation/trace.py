"""How long each block request of a job took, and which class it is of, from the kernel's own tracepoints.

A request counts from when its first bio was submitted, so that waiting for a free tag counts too: a scheduler that
lets nobody in would look fast otherwise.  It ends when it was completed as a whole.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edgeprof.collectors.block import trace_events
from edgeprof.collectors.block.kinds import EMPTY_FLUSH, READ, WRITE
from edgeprof.collectors.block.parse import to_table
from edgeprof.collectors.block.requests import Requests, pair
from edgeprof.collectors.tracefs.events import Trace, read_trace
from edgeprof.collectors.tracefs.tasks import OWNERS
from edgeprof.kmodule.evaluation.errors import NoTrace

EVENTS = ("block_bio_queue", *trace_events.EVENTS)
"""What must be traced."""

CLASSES = ("read", "sync_write", "writeback", "flush")
"""Reads; writes that somebody waits for (flagged sync, FUA or preflush); all other writes; and flushes that a caller
such as fsync waits for, which no scheduler sees."""

Int64 = npt.NDArray[np.int64]


def requests_of(raw: Path, device: str) -> pa.Table:
    """The table ``block_io`` of a job's trace, completed by ``asked_ns`` and ``class``, in the order of time.

    Args:
        raw: a folder with ``tracefs`` in it, as a captured run has it.
        device: name of the disk, which alone was traced.

    Raises:
        NoTrace: it cannot be read, events were lost, or a request has no end.
    """
    trace = read_trace(raw)
    if trace.lost != 0 or trace.notes:
        raise NoTrace("; ".join(trace.notes) or "an unknown number of events was lost")
    requests = pair(trace_events.actions_of(trace, {}))
    owner = np.full(len(requests), OWNERS.index("run"), np.int32)
    table = to_table(requests, owner, {int(dev): device for dev in np.unique(requests.dev)})
    kind = class_of(requests)
    if not bool(requests.has_completed[kind >= 0].all()):
        raise NoTrace(f"{int((~requests.has_completed[kind >= 0]).sum())} requests were not seen to complete")
    return table.append_column("asked_ns", pa.array(_asked(requests, trace))).append_column(
        "class", pa.array([*CLASSES, None]).take(pa.array(kind % (len(CLASSES) + 1)))
    )


def class_of(requests: Requests) -> npt.NDArray[np.int8]:
    """Index into `CLASSES`; -1 for what nobody waits for by itself: commands to flush, discards."""
    waited = np.array([_waited_for(word) for word in requests.rwbs.tolist()], np.bool_)
    kind = np.full(len(requests), -1, np.int8)
    kind[requests.kind == READ] = 0
    kind[(requests.kind == WRITE) & waited] = 1
    kind[(requests.kind == WRITE) & ~waited] = 2
    kind[requests.kind == EMPTY_FLUSH] = 3
    return kind


def _waited_for(rwbs: int) -> bool:
    """As the kernel's op_is_sync of a write: S stands for sync, F for preflush or FUA."""
    word = rwbs.to_bytes(8, "little")
    return b"S" in word or b"F" in word


def _asked(requests: Requests, trace: Trace) -> Int64:
    """When the first bio of each request was submitted."""
    first = np.where(requests.has_inserted, requests.inserted, requests.issued)
    first = np.where(requests.has_queued, requests.queued, first)
    bios = trace.get("block", "block_bio_queue")
    if not len(bios):
        raise NoTrace("no bio was seen to be submitted")
    asked = last_before(bios.pid.astype(np.int64), bios.time_ns, requests.pid.astype(np.int64), first)
    return np.where(requests.has_queued & (asked >= 0), asked, first)


def last_before(tasks: Int64, times: Int64, asker: Int64, moment: Int64) -> Int64:
    """For each asker, the last of a task's times that is at most the moment; -1 where that task has none.

    A task submits its bios one by one: the last that it submitted before a request was allocated is the request's.
    """
    start = int(min(times.min(), moment.min(initial=times.min())))
    bits = int(max(times.max(), moment.max(initial=0)) - start).bit_length()
    keys = np.sort((tasks << bits) + (times - start))
    at = np.searchsorted(keys, (asker << bits) + (moment - start), side="right") - 1
    found = keys[np.maximum(at, 0)]
    return np.where((at >= 0) & (found >> bits == asker), (found & ((1 << bits) - 1)) + start, -1)
