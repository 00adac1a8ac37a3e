"""Block tracepoints of a tracefs instance as actions: the default back end.

The events are those of include/trace/events/block.h; where a kernel has which
field is read from the captured formats.  Events of bios name the partition they
were sent to, events of requests the disk, so partitions are translated.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.block import actions as act
from edgeprof.collectors.block.actions import NO_NAME, SECTOR_BYTES, Actions, Int32, Int64, UInt64
from edgeprof.collectors.block.encoding import encode
from edgeprof.collectors.tracefs.columns import CpuTrace, gather
from edgeprof.collectors.tracefs.events import Trace
from edgeprof.collectors.tracefs.formats import EventFormat

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

_CHUNK = 1 << 15
"""Events handled together: few enough that what they take stays in the processor's cache."""

_NEEDED = ("common_pid", "dev", "sector", "nr_sector")
_RWBS_BYTES, _COMM_BYTES = 8, 16
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


def actions_of(trace: Trace, disks: Mapping[int, int]) -> Actions:
    """All block actions of a trace.

    Args:
        trace: as read from ``raw/tracefs``.
        disks: device number of each partition -> of its disk.
    """
    parts = []
    for event, letter in EVENTS.items():
        kind = trace.formats.get(("block", event))
        if kind is None or not _usable(kind):
            continue
        for cpu in trace.cpus:
            rows = np.flatnonzero((cpu.types == kind.number) & (cpu.decoded.size >= kind.size))
            if len(rows):
                parts.append((cpu, rows, kind, letter))
    columns = _Columns(sum(len(rows) for _, rows, _, _ in parts), trace.layout.order if trace.layout else "<")
    for cpu, rows, kind, letter in parts:
        columns.add(cpu, rows, kind, letter)
    columns.dev = to_disks(columns.dev, disks)
    return columns.actions()


def _usable(kind: EventFormat) -> bool:
    whole = all(name in kind.fields and kind.fields[name].kind == "integer" for name in _NEEDED)
    return whole and "rwbs" in kind.fields and kind.fields["rwbs"].size >= _RWBS_BYTES


class _Columns:
    """Columns of actions, filled part by part."""

    def __init__(self, count: int, order: str) -> None:
        self._order = order
        self._filled = 0
        self._names: dict[bytes, int] = {}
        self.time_ns: Int64 = np.empty(count, np.int64)
        self.action = np.empty(count, np.uint8)
        self.dev: Int32 = np.empty(count, np.int32)
        self.sector: Int64 = np.empty(count, np.int64)
        self.length: Int64 = np.empty(count, np.int64)
        self.rwbs: UInt64 = np.empty(count, np.uint64)
        self.pid: Int32 = np.empty(count, np.int32)
        self.comm: Int32 = np.full(count, NO_NAME, np.int32)
        self.error: Int32 = np.zeros(count, np.int32)

    def add(self, cpu: CpuTrace, rows: Int64, kind: EventFormat, letter: int) -> None:
        """Append the events of one kind that are at ``rows`` of one CPU's trace."""
        record = _record(kind, self._order)
        failed = next((name for name in ("error", "errors") if name in record.fields), None)  # type: ignore[operator]
        self.action[self._filled : self._filled + len(rows)] = letter
        for begin in range(0, len(rows), _CHUNK):
            chunk = rows[begin : begin + _CHUNK]
            found = gather(cpu.data, cpu.decoded.offset[chunk], np.dtype(f"V{kind.size}")).view(record)
            to = slice(self._filled, self._filled + len(chunk))
            self._filled = to.stop
            self.time_ns[to] = cpu.decoded.time_ns[chunk]
            self.dev[to] = found["dev"].astype(np.int32, copy=False)
            self.sector[to] = act.clip_sectors(found["sector"])
            np.multiply(found["nr_sector"], SECTOR_BYTES, out=self.length[to], casting="unsafe")
            self.rwbs[to] = _until_nul(found["rwbs"])
            self.pid[to] = found["common_pid"]
            if "comm" in (found.dtype.names or ()) and letter != act.COMPLETE:
                self.comm[to] = self._number(found["comm"])
            if failed is not None:
                self.error[to] = found[failed]

    def _number(self, comms: UInt64) -> Int32:
        codes, positions = encode(comms)
        numbers = []
        for row in comms[positions]:
            name = row.astype("<u8").tobytes().split(b"\0", 1)[0]
            numbers.append(self._names.setdefault(name, len(self._names)))
        return np.array(numbers, np.int32)[codes]

    def actions(self) -> Actions:
        """What was added."""
        columns = (self.time_ns, self.action, self.dev, self.sector, self.length, self.rwbs, self.pid, self.comm)
        return Actions(*columns, self.error, tuple(self._names))


def _record(kind: EventFormat, order: str) -> np.dtype[np.void]:
    """The event's record as a structured type; strings are read as words, whatever the byte order."""
    names, formats, offsets = [], [], []
    for name, item in kind.fields.items():
        if name == "rwbs":
            form: object = "<u8"
        elif name == "comm" and item.kind == "text" and item.size >= _COMM_BYTES:
            form = ("<u8", (2,))
        elif item.kind == "integer":
            form = f"{order}{'i' if item.signed else 'u'}{item.size}"
        else:
            continue
        names.append(name)
        formats.append(form)
        offsets.append(item.offset)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": kind.size})


def _until_nul(words: npt.NDArray[np.uint64]) -> UInt64:
    """Clear what stands behind a string's NUL: the kernel writes strings over what the buffer held before.

    The lowest byte that is zero is the lowest one whose top bit is set in (w - 0x01..01) & ~w & 0x80..80.
    """
    words = words.astype(np.uint64, copy=False)
    zeros = (words - _ONES) & ~words & _TOPS
    lowest = zeros & (~zeros + np.uint64(1))
    cleared: UInt64 = words & ((lowest >> np.uint64(7)) - np.uint64(1))
    return cleared


def to_disks(devs: Int32, disks: Mapping[int, int]) -> Int32:
    """Translate partitions to their disks."""
    if not disks or len(devs) == 0:
        return devs
    codes, positions = encode(devs.astype(np.uint64))
    found = devs[positions].tolist()
    if not any(dev in disks for dev in found):
        return devs
    return np.array([disks.get(dev, dev) for dev in found], np.int32)[codes]
