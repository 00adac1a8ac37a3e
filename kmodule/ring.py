"""The reader's end of a ring that the kernel, or a writer in this process, fills."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.abi import RingWriterWords
from edgeprof.kmodule.library import FixedArray, check, library

Area = npt.NDArray[np.uint64] | mmap.mmap


class RingReader(ctypes.Structure):
    """struct kml_ring_reader over three areas, which it keeps alive.  Raises Refused for areas that are no ring.

    A ring has one reader at a time, and a reader belongs to one thread at a time.
    """

    _fields_ = (
        ("_shared", ctypes.c_void_p),
        ("_words", ctypes.c_void_p),
        ("_records", ctypes.c_void_p),
        ("_mask", ctypes.c_uint32),
        ("record_bytes", ctypes.c_uint32),
        ("tail", ctypes.c_uint64),
        ("_head", ctypes.c_uint64),
    )

    def __init__(self, writer: Area, reader: Area, records: Area) -> None:
        super().__init__()
        self._areas = tuple(np.frombuffer(area, dtype=np.uint8) for area in (writer, reader, records))
        addresses = [area.ctypes.data for area in self._areas]
        status = library().kml_ring_reader_init(ctypes.byref(self), *addresses, self._areas[2].nbytes)
        check(status, "the mapped memory as a ring")
        self._out = np.empty(0, dtype=np.int64)

    def pop(self, count: int = 1024) -> tuple[npt.NDArray[np.int64], FixedArray]:
        """Up to ``count`` records, oldest first: their numbers, and their values ``[n, values]`` in Q16.16.

        An odd count of values is followed by one that pads it.
        Both are views of a buffer that the next call overwrites.
        """
        words = self.record_bytes // 8
        if self._out.size < count * words:
            self._out = np.empty(count * words, dtype=np.int64)
        got = int(library().kml_ring_pop(ctypes.byref(self), self._out.ctypes.data, count))
        records = self._out[: got * words].reshape(got, words)
        return records[:, 0], records.view(np.int32)[:, 2:]

    @property
    def dropped(self) -> int:
        """Records that the writer had no room for, so far."""
        return int(RingWriterWords.from_address(self._shared).dropped)

    @property
    def bad_tails(self) -> int:
        """How often the writer found this side's word to make no sense."""
        return int(RingWriterWords.from_address(self._shared).bad_tails)
