"""The records of ftrace's ``blk`` tracer as actions.

The tracer writes struct blk_io_trace into the ring buffer, with the common
fields of a trace entry in place of its first eight bytes (magic and sequence) and
its time left out, since the ring buffer has both (kernel/trace/blktrace.c).  The
kernel publishes no ``format`` for it, so capture writes `FORMAT` beside the trace.
"""

from __future__ import annotations

import numpy as np

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block import records
from edgeprof.collectors.block.actions import Actions, Int32
from edgeprof.collectors.block.encoding import encode
from edgeprof.collectors.tracefs.events import Trace

_NEEDED = frozenset({"sector", "bytes", "action", "pid", "device", "error"})


def actions_of(trace: Trace) -> Actions:
    """All actions of a trace of the ``blk`` tracer."""
    columns = trace.get("ftrace", "blk")
    if not columns.names.keys() >= _NEEDED:
        return act.make([], 0)
    pid = columns.field("pid").astype(np.int32)
    codes, names = _names(trace, pid)
    return records.actions_of(
        columns.time_ns,
        columns.field("action"),
        columns.field("device"),
        columns.field("sector"),
        columns.field("bytes"),
        pid,
        codes,
        columns.field("error"),
        names,
    )


def _names(trace: Trace, pid: Int32) -> tuple[Int32, tuple[bytes, ...]]:
    """The last known command of each thread; the records themselves hold none."""
    codes, positions = encode(pid.astype(np.uint64))
    known: dict[bytes, int] = {}
    numbers = []
    for task in pid[positions].tolist():
        comm = trace.comm(task)
        numbers.append(act.NO_NAME if comm is None else known.setdefault(comm.encode("utf-8", "replace"), len(known)))
    return np.array([*numbers, act.NO_NAME], np.int32)[codes], tuple(known)
