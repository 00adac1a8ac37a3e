"""The reader's end of a ring, from Python, beside a writer in the same process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from edgeprof.kmodule.abi import RingWriterWords
from edgeprof.kmodule.errors import Refused
from edgeprof.kmodule.library import check, library
from edgeprof.kmodule.ring import RingReader

SLOTS, VALUES = 8, 3
RECORD = 24  # a number of 8 bytes, three of 4, padded to 8


class Writer(ctypes.Structure):
    """struct kml_ring_writer; `push` does what the inline functions of kml/ring.h do, for one thread."""

    _fields_ = (
        ("shared", ctypes.c_void_p),
        ("reader", ctypes.c_void_p),
        ("records", ctypes.c_void_p),
        ("mask", ctypes.c_uint32),
        ("record_bytes", ctypes.c_uint32),
        ("head", ctypes.c_uint64),
        ("tail", ctypes.c_uint64),
        ("dropped", ctypes.c_uint64),
        ("bad_tails", ctypes.c_uint64),
    )

    def __init__(self, areas: tuple[npt.NDArray[np.uint64], ...]) -> None:
        super().__init__()
        writer, reader, records = (area.ctypes.data for area in areas)
        made = library().kml_ring_writer_init(ctypes.byref(self), writer, reader, records, SLOTS, RECORD)
        check(made, "making a ring")
        self.words = RingWriterWords.from_address(writer)
        self.slots = areas[2].view(np.int32).reshape(-1, RECORD // 4)

    def push(self, values: Iterable[int]) -> bool:
        if self.head - self.tail > self.mask and not library().kml_ring_refresh(ctypes.byref(self)):
            self.dropped += 1
            self.words.dropped = self.dropped
            return False
        slot = self.slots[self.head & self.mask]
        slot[:2].view(np.int64)[0] = self.head
        slot[2 : 2 + VALUES] = list(values)
        self.head += 1
        self.words.head = self.head
        return True


@pytest.fixture
def areas() -> tuple[npt.NDArray[np.uint64], ...]:
    return np.zeros(512, np.uint64), np.zeros(512, np.uint64), np.zeros(SLOTS * RECORD // 8, np.uint64)


def test_records_come_out_as_they_went_in(areas: tuple[npt.NDArray[np.uint64], ...]) -> None:
    writer, reader = Writer(areas), RingReader(*areas)
    for number in range(5):
        assert writer.push((number, -number, 7))
    numbers, values = reader.pop(3)
    assert numbers.tolist() == [0, 1, 2]
    assert values[:, :VALUES].tolist() == [[0, 0, 7], [1, -1, 7], [2, -2, 7]]
    assert reader.pop()[0].tolist() == [3, 4]
    assert reader.pop()[0].size == 0


def test_what_found_no_room_is_counted_and_numbers_go_on(areas: tuple[npt.NDArray[np.uint64], ...]) -> None:
    writer, reader = Writer(areas), RingReader(*areas)
    taken = [writer.push((number, 0, 0)) for number in range(20)]
    assert sum(taken) == SLOTS and reader.dropped == 12
    first = reader.pop()[1][:, 0].tolist()
    assert writer.push((20, 0, 0))
    numbers, values = reader.pop()
    assert (first, numbers.tolist(), values[:, 0].tolist()) == (list(range(8)), [8], [20])
    assert reader.tail + reader.dropped == 21


def test_a_reader_s_word_that_makes_no_sense_is_counted_not_believed(
    areas: tuple[npt.NDArray[np.uint64], ...],
) -> None:
    writer, reader = Writer(areas), RingReader(*areas)
    for number in range(SLOTS):
        writer.push((number, 0, 0))
    areas[1][0] = 10**12
    assert not writer.push((99, 0, 0))
    assert reader.bad_tails == 1


def test_anonymous_mappings_do_as_areas() -> None:
    maps = [mmap.mmap(-1, 4096) for _ in range(3)]
    writer = Writer(tuple(np.frombuffer(area, dtype=np.uint64)[: SLOTS * RECORD // 8] for area in maps))
    reader = RingReader(*maps)
    writer.push((1, 2, 3))
    assert reader.pop()[1][0, :VALUES].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("field", "value"), [("magic", 0), ("slots", 7), ("slots", 1 << 30), ("record_bytes", 20), ("record_bytes", 0)]
)
def test_memory_that_is_no_ring_is_refused(areas: tuple[npt.NDArray[np.uint64], ...], field: str, value: int) -> None:
    setattr(Writer(areas).words, field, value)
    with pytest.raises(Refused, match="as a ring"):
        RingReader(*areas)


def test_a_record_area_that_is_too_small_is_refused(areas: tuple[npt.NDArray[np.uint64], ...]) -> None:
    Writer(areas)
    with pytest.raises(Refused):
        RingReader(areas[0], areas[1], areas[2][:-1])
