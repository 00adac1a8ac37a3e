"""Decodes pages of the kernel's trace ring buffer, thousands at a time.

All pages of a chunk are walked in lockstep: one vector operation handles the
n-th event of every page.  A page that is damaged is followed up to the damage;
the others are not touched by it.

Source of the format: kernel/trace/ring_buffer.c, include/linux/ring_buffer.h and
Documentation/trace/ring-buffer-design.rst; sizes come from the captured headers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.tracefs.formats import PageLayout

MISSED = 1 << 31
"""Flag of a page's commit field: events were overwritten before this page."""
MISSED_STORED = 1 << 30
"""Flag beside it: how many stands behind the page's data, as an unsigned long."""

_CHUNK_BYTES = 4 << 20
_ABSOLUTE_BITS = 59  # RINGBUF_TYPE_TIME_STAMP holds the low bits only

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Decoded:
    """The events of one CPU in file order, as equally long arrays.

    Attributes:
        time_ns: the trace clock's time.
        offset: where the event's record (its common_type) begins, bytes into the file.
        size: bytes of the record.
        lost: events the pages report as overwritten.
        lost_unknown: pages that report overwritten events without a number.
        damaged: pages that could not be followed to their end.
        pages: pages seen, a cut last one included.
        cut: whether the last page is not whole.
    """

    time_ns: Ints
    offset: Ints
    size: npt.NDArray[np.uint32]
    lost: int
    lost_unknown: int
    damaged: int
    pages: int
    cut: bool


@dataclass
class _Pages:
    """Header figures of all pages, one element a page."""

    start: Ints  # of the data, bytes into the file
    end: Ints
    time: Ints
    lost: int
    lost_unknown: int
    damaged: int


def decode(data: npt.NDArray[np.uint8], layout: PageLayout) -> Decoded:
    """Decode the bytes of one CPU's file.

    Args:
        data: the file's bytes, shape (n,), a memory map or an array.
        layout: what the captured headers say.
    """
    pages = _page_headers(data, layout)
    count = len(pages.start)
    per_chunk = max(1, _CHUNK_BYTES // layout.page_size)
    parts = [_walk(data, layout, pages, first, min(first + per_chunk, count)) for first in range(0, count, per_chunk)]
    if parts:
        time, offset, size = (np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[:3])
    else:
        time, offset, size = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32)
    return Decoded(
        time_ns=time,
        offset=offset,
        size=size,
        lost=pages.lost,
        lost_unknown=pages.lost_unknown,
        damaged=pages.damaged + sum(part[3] for part in parts),
        pages=count,
        cut=len(data) % layout.page_size != 0,
    )


def _page_headers(data: npt.NDArray[np.uint8], layout: PageLayout) -> _Pages:
    size = layout.page_size
    whole = len(data) // size
    matrix = data[: whole * size].reshape(whole, size)
    time = _column(matrix, layout.timestamp_offset, layout.order + "u8")
    commit = _column(matrix, layout.commit_offset, f"{layout.order}u{layout.commit_size}")
    rest = len(data) - whole * size
    if rest > layout.data_offset:  # the cut page: follow what is there
        tail = np.array(data[whole * size :]).reshape(1, rest)
        time = np.concatenate([time, _column(tail, layout.timestamp_offset, layout.order + "u8")])
        last = _column(tail, layout.commit_offset, f"{layout.order}u{layout.commit_size}")
        commit = np.concatenate([commit, last])
    start = np.arange(len(time), dtype=np.int64) * size + layout.data_offset
    flags = commit.astype(np.uint64)
    length = (flags & np.uint64(MISSED_STORED - 1)).astype(np.int64)
    sound = (length <= size - layout.data_offset) & (time < np.uint64(1 << 63))
    if layout.commit_size == 8:  # the flag of missed events is the sign of an int, and may be extended to the long
        high = flags >> np.uint64(32)
        sound &= (high == 0) | (high == np.uint64(0xFFFFFFFF))
    end = np.minimum(np.where(sound, start + length, start), len(data))
    lost, unknown = _missed(data, layout, flags, end, sound & (start + length <= len(data)))
    return _Pages(start, end, time.astype(np.int64), lost, unknown, int(np.count_nonzero(~sound)))


def _column(matrix: npt.NDArray[np.uint8], offset: int, kind: str) -> npt.NDArray[np.unsignedinteger]:
    width = np.dtype(kind).itemsize
    values = np.ascontiguousarray(matrix[:, offset : offset + width]).view(kind)[:, 0]
    return values.astype(values.dtype.newbyteorder("="))


def _missed(
    data: npt.NDArray[np.uint8],
    layout: PageLayout,
    flags: npt.NDArray[np.uint64],
    end: Ints,
    sound: npt.NDArray[np.bool_],
) -> tuple[int, int]:
    """Lost events that the pages count, and how many pages lost some without a number."""
    lost = unknown = 0
    for page in np.flatnonzero(sound & ((flags & np.uint64(MISSED)) != 0)).tolist():
        where, width = int(end[page]), layout.commit_size
        limit = min(len(data), page * layout.page_size + layout.page_size)
        if int(flags[page]) & MISSED_STORED and where + width <= limit:
            number = int.from_bytes(data[where : where + width].tobytes(), "big" if layout.big_endian else "little")
            if number < 1 << 48:
                lost += number
                continue
        unknown += 1
    return lost, unknown


def _walk(
    data: npt.NDArray[np.uint8], layout: PageLayout, pages: _Pages, first: int, last: int
) -> tuple[Ints, Ints, npt.NDArray[np.uint32], int]:
    """Times, offsets and sizes of the events of pages first to last, and how many pages are damaged."""
    base = first * layout.page_size
    stop = min(len(data), last * layout.page_size)
    # Two words of zeros behind the chunk let a header's second word be read without asking where the chunk ends.
    words = np.zeros((stop - base) // 4 + 3, np.uint32)
    count = (stop - base) // 4
    words[:count] = data[base : base + count * 4].view(layout.order + "u4")
    position = (pages.start[first:last] - base) >> 2
    end = (pages.end[first:last] - base) >> 2
    time = pages.time[first:last].copy()
    page = np.arange(last - first, dtype=np.int64)
    rank = np.zeros(last - first, np.int64)
    steps: list[tuple[Ints, Ints, Ints, Ints, Ints]] = []
    damaged = 0
    while True:
        alive = position < end
        if not alive.all():
            position, end, time, page, rank = (array[alive] for array in (position, end, time, page, rank))
        if not len(position):
            break
        header = words[position]
        kind, delta = _split(header, layout)
        is_data = (kind - 1) < layout.data_max  # type_len 0 wraps around
        time = time + delta
        record = position + 1
        size = kind << np.uint32(2)
        following = record + kind
        if not is_data.all():
            odd = np.flatnonzero(~is_data)
            damaged += _special(words, layout, odd, kind, delta, time, record, size, following, is_data, end)
        over = following > end
        if over.any():
            damaged += int(np.count_nonzero(over))
            is_data &= ~over
            following = np.where(over, end, following)
        if is_data.all():
            steps.append((page, rank, time, record, size))
            rank = rank + 1
        else:
            steps.append((page[is_data], rank[is_data], time[is_data], record[is_data], size[is_data]))
            rank = rank + is_data
        position = following
    return (*_in_file_order(steps, last - first, base), damaged)


def _split(header: npt.NDArray[np.uint32], layout: PageLayout) -> tuple[npt.NDArray[np.uint32], Ints]:
    """type_len and time_delta of event headers: bit fields start at the low end, or on big-endian machines the high."""
    if layout.big_endian:
        return header >> np.uint32(layout.delta_bits), (header & np.uint32((1 << layout.delta_bits) - 1)).astype(
            np.int64
        )
    kind = header & np.uint32((1 << layout.type_bits) - 1)
    return kind, (header >> np.uint32(layout.type_bits)).astype(np.int64)


def _special(
    words: npt.NDArray[np.uint32],
    layout: PageLayout,
    odd: Ints,
    kind: npt.NDArray[np.uint32],
    delta: Ints,
    time: Ints,
    record: Ints,
    size: npt.NDArray[np.uint32],
    following: Ints,
    is_data: npt.NDArray[np.bool_],
    end: Ints,
) -> int:
    """Handle what is not plain data at the positions ``odd``, in place; returns how many are damaged."""
    kinds, deltas = kind[odd], delta[odd]
    first = words[record[odd]].astype(np.int64)
    damaged = 0

    is_long = kinds == 0
    rows, length = odd[is_long], first[is_long]
    following[rows] = record[rows] + ((length + 3) >> 2)
    record[rows] += 1
    size[rows] = np.maximum(length - 4, 0)
    is_data[rows] = length >= 6  # room for the length itself and a common_type
    broken = rows[length < 4]
    following[broken] = end[broken]
    damaged += len(broken)

    is_padding = kinds == layout.padding
    rows, length = odd[is_padding], first[is_padding]
    time[rows] -= deltas[is_padding] == 1  # a discarded event has to show some delta: 1 stands for none
    skipped = np.minimum(record[rows] + ((length + 3) >> 2), end[rows])
    following[rows] = np.where(deltas[is_padding] == 0, end[rows], skipped)

    is_extend = kinds == layout.time_extend
    rows = odd[is_extend]
    time[rows] += first[is_extend] << layout.delta_bits
    following[rows] = record[rows] + 1

    is_stamp = kinds == layout.time_stamp
    rows = odd[is_stamp]
    before = time[rows] - deltas[is_stamp]
    time[rows] = _whole_stamp((first[is_stamp] << layout.delta_bits) | deltas[is_stamp], before)
    following[rows] = record[rows] + 1

    unknown = odd[~(is_long | is_padding | is_extend | is_stamp)]
    following[unknown] = end[unknown]
    return damaged + len(unknown)


def _whole_stamp(stamp: Ints, before: Ints) -> Ints:
    """An absolute time stamp has no room for the top bits: they are those of the time before it."""
    low = (1 << _ABSOLUTE_BITS) - 1
    top = before & ~low
    stamp = (stamp & low) | top
    return np.where((top != 0) & (stamp < before), stamp + (1 << _ABSOLUTE_BITS), stamp)


def _in_file_order(
    steps: list[tuple[Ints, Ints, Ints, Ints, Ints]], pages: int, base: int
) -> tuple[Ints, Ints, npt.NDArray[np.uint32]]:
    """Put the events, gathered step by step, back into the order of the file."""
    if not steps:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32)
    page, rank, time, record, size = (np.concatenate(arrays) for arrays in zip(*steps, strict=True))
    counts = np.bincount(page, minlength=pages)
    place = (np.cumsum(counts) - counts)[page] + rank
    ordered_time, offset = np.empty_like(time), np.empty_like(record)
    sizes = np.empty(len(size), np.uint32)
    ordered_time[place] = time
    offset[place] = (record << 2) + base
    sizes[place] = size
    return ordered_time, offset, sizes
