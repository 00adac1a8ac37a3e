"""What the block layer did, one action a row: the common form of all three back ends.

The letters are those of blkparse(1) and the kernel's ``blk`` tracer.  Only the
actions that say something of a request's life matter here; plug, unplug, sleep,
bounce and remap records have no part in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
UInt64 = npt.NDArray[np.uint64]
UInt8 = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

QUEUE, GETRQ, INSERT, ISSUE, COMPLETE, REQUEUE, BACKMERGE, FRONTMERGE, SPLIT = b"QGIDCRMFX"
"""Bio queued, request allocated, given to the scheduler, sent to the driver, completed, taken
back, merged into a request (at its end, at its start), bio split."""

SECTOR_BYTES = 512
NO_SECTOR = -1
MAX_SECTOR = (1 << 55) - 1
"""Larger than any device (16 EiB); a larger number is damage or the kernel's ``(sector_t)-1``."""
NO_NAME = -1

_COLUMNS = ("time_ns", "action", "dev", "sector", "length", "rwbs", "pid", "comm", "error")


@dataclass(frozen=True)
class Actions:
    """Columns of equal length; rows in any order.

    Attributes:
        time_ns: CLOCK_MONOTONIC ns.
        action: letter as its ASCII code.
        dev: major << 20 | minor, of the whole disk.
        sector: first sector of 512 bytes; `NO_SECTOR` where there is none.
        length: bytes.
        rwbs: the kernel's string of operation and flags in one little-endian word of 8 bytes, zero padded.
        pid: thread in whose context it happened (the asker's for G, often a stranger's for D and C).
        comm: index of that thread's name in ``names``; `NO_NAME` where it is not known.
        error: negative errno of a completion, else 0.
        names: commands.
    """

    time_ns: Int64
    action: UInt8
    dev: Int32
    sector: Int64
    length: Int64
    rwbs: UInt64
    pid: Int32
    comm: Int32
    error: Int32
    names: tuple[bytes, ...] = ()

    def __len__(self) -> int:
        return len(self.time_ns)

    def take(self, rows: Mask | Int64) -> Actions:
        """The rows that a mask or an index names."""
        return replace(self, **{name: getattr(self, name)[rows] for name in _COLUMNS})


def make(
    time_ns: npt.ArrayLike,
    action: npt.ArrayLike,
    dev: npt.ArrayLike = 0,
    sector: npt.ArrayLike = NO_SECTOR,
    length: npt.ArrayLike = 0,
    rwbs: npt.ArrayLike = 0,
    pid: npt.ArrayLike = 0,
    comm: npt.ArrayLike = NO_NAME,
    error: npt.ArrayLike = 0,
    names: Sequence[bytes] = (),
) -> Actions:
    """Actions from columns or single values, broadcast to the length of ``time_ns`` and cast."""
    times = np.asarray(time_ns, np.int64)

    def column(values: npt.ArrayLike, kind: npt.DTypeLike) -> npt.NDArray[np.generic]:
        array = np.asarray(values)
        if array.ndim == 0:
            return np.full(len(times), array, kind)
        return array.astype(kind, copy=False)

    columns: dict[str, npt.NDArray[np.generic]] = {
        "action": column(action, np.uint8),
        "dev": column(dev, np.int32),
        "sector": clip_sectors(column(sector, np.int64)),
        "length": column(length, np.int64),
        "rwbs": column(rwbs, np.uint64),
        "pid": column(pid, np.int32),
        "comm": column(comm, np.int32),
        "error": column(error, np.int32),
    }
    return Actions(time_ns=times, names=tuple(names), **columns)  # type: ignore[arg-type]


def clip_sectors(sectors: npt.NDArray[np.generic]) -> Int64:
    """Sectors as signed numbers; what cannot be a sector becomes `NO_SECTOR`."""
    signed: Int64 = sectors.astype(np.int64, copy=False)
    if len(signed) and (int(signed.min()) < NO_SECTOR or int(signed.max()) > MAX_SECTOR):
        return np.where((signed < 0) | (signed > MAX_SECTOR), NO_SECTOR, signed)
    return signed


def concatenate(parts: Sequence[Actions]) -> Actions:
    """All parts behind one another, their names in one list."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return make([], 0)
    if len(parts) == 1:
        return parts[0]
    known: dict[bytes, int] = {}
    comms = []
    for part in parts:
        if len(part.names):
            numbers = [known.setdefault(name, len(known)) for name in part.names]
            comms.append(np.array([*numbers, NO_NAME], np.int32)[part.comm])  # the last one is index -1
        else:
            comms.append(part.comm)
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS if name != "comm"}
    return Actions(comm=np.concatenate(comms), names=tuple(known), **columns)
