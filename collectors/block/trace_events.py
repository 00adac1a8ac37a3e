"""Block tracepoints of a tracefs instance as actions: the default back end.

The events are those of include/trace/events/block.h; which fields a kernel has
is read from the captured formats.  Events of bios name the partition they were
sent to, events of requests the disk, so partitions are translated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block.actions import NO_NAME, SECTOR_BYTES, Actions, Int32, UInt64
from edgeprof.collectors.block.encoding import encode, word
from edgeprof.collectors.tracefs.events import EventColumns, Trace

EVENTS = {
    "block_getrq": act.GETRQ,
    "block_rq_insert": act.INSERT,
    "block_rq_issue": act.ISSUE,
    "block_rq_complete": act.COMPLETE,
    "block_rq_requeue": act.REQUEUE,
    "block_rq_merge": act.BACKMERGE,
    "block_bio_frontmerge": act.FRONTMERGE,
}
"""Event -> action.  A merge of whole requests takes the second one away, like a back merge of its bio."""

_NEEDED = frozenset({"dev", "sector", "nr_sector", "rwbs"})


def actions_of(trace: Trace, disks: Mapping[int, int]) -> Actions:
    """All block actions of a trace.

    Args:
        trace: as read from ``raw/tracefs``.
        disks: device number of each partition -> of its disk.
    """
    return act.concatenate([_of_event(trace.get("block", event), letter, disks) for event, letter in EVENTS.items()])


def _of_event(columns: EventColumns, letter: int, disks: Mapping[int, int]) -> Actions:
    names = columns.names
    if not names.keys() >= _NEEDED:
        return act.make([], letter)
    sectors = columns.field("nr_sector").astype(np.int64)
    comms, values = columns.categories("comm") if "comm" in names else (NO_NAME, ())
    failed = next((name for name in ("error", "errors") if name in names), None)  # named errors before Linux 4.14
    return act.make(
        columns.time_ns,
        letter,
        to_disks(columns.field("dev").astype(np.int32), disks),
        columns.field("sector"),
        sectors * SECTOR_BYTES,
        _rwbs(columns),
        columns.pid,
        comms,
        columns.field(failed) if failed else 0,
        [bytes(value) for value in values],
    )


def _rwbs(columns: EventColumns) -> UInt64:
    codes, values = columns.categories("rwbs")
    if len(values) == 0:
        return np.zeros(len(columns), np.uint64)
    words: UInt64 = np.array([word(bytes(value)) for value in values], np.uint64)[codes]
    return words


def to_disks(devs: Int32, disks: Mapping[int, int]) -> Int32:
    """Translate partitions to their disks."""
    if not disks or len(devs) == 0:
        return devs
    codes, positions = encode(devs.astype(np.uint64))
    found = devs[positions].tolist()
    if not any(dev in disks for dev in found):
        return devs
    return np.array([disks.get(dev, dev) for dev in found], np.int32)[codes]
