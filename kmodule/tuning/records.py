"""Finds the records of trace pages cheaply: pages that hold nothing but equal records are read by one stride.

`edgeprof.collectors.tracefs.ring_buffer.decode` reads anything, and takes 3 ms for the first page as for a thousand.  A
service has that for the few pages that need it.  A page may begin with a pause, as after each look,
and end with a filler.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.tracefs.formats import PageLayout
from edgeprof.collectors.tracefs.ring_buffer import decode

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]


def find(data: Bytes, layout: PageLayout, size: int) -> tuple[Ints, Ints]:
    """Times and offsets of the records in whole pages, in no order; nearly all of them are of ``size`` bytes."""
    pages = data.reshape(-1, layout.page_size)
    times, offsets, alike = _find_alike(pages, layout, size)
    others = np.flatnonzero(~alike)
    if not len(others):
        return times, offsets
    decoded = decode(np.ascontiguousarray(pages[others]).reshape(-1), layout)
    page, inside = np.divmod(decoded.offset, layout.page_size)
    return (
        np.concatenate([times, decoded.time_ns]),
        np.concatenate([offsets, others[page] * layout.page_size + inside]),
    )


def _find_alike(pages: Bytes, layout: PageLayout, size: int) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """The records of those pages that hold no others, and which pages those are."""
    words = pages.view(layout.order + "u4")
    begins = _number(pages, layout.timestamp_offset, 8, layout.order)
    committed = _number(pages, layout.commit_offset, layout.commit_size, layout.order)
    first = layout.data_offset // 4
    kind, delta = _split(words[:, first], layout)
    pause = (kind == layout.time_extend) & (committed > 0)
    begins = begins + np.where(pause, (words[:, first + 1].astype(np.int64) << layout.delta_bits) + delta, 0)
    starts = layout.data_offset + 8 * pause  # in bytes, of the first record's header
    room = committed - 8 * pause
    stride = size + 4
    counts = np.clip(room // stride, 0, (layout.page_size - layout.data_offset) // stride)
    rest = room - counts * stride
    ends = np.minimum(starts + counts * stride, layout.page_size - 4)
    filler = np.take_along_axis(words, ends[:, np.newaxis] // 4, axis=1)[:, 0]  # of the last page of a full buffer
    sound = (committed <= layout.page_size - layout.data_offset) & (
        (rest == 0) | ((rest > 0) & (rest < stride) & (_split(filler, layout)[0] == layout.padding))
    )
    places = np.arange(int(counts[sound].max(initial=0)))
    inside = places < np.where(sound, counts, 0)[:, np.newaxis]
    headers = np.where(inside, starts[:, np.newaxis] + places * stride, 0)
    kinds, deltas = _split(np.take_along_axis(words, headers // 4, axis=1), layout)
    alike = sound & ((kinds == size // 4) | ~inside).all(axis=1)
    times = begins[:, np.newaxis] + np.cumsum(np.where(inside, deltas, 0), axis=1)
    bases = np.arange(len(pages))[:, np.newaxis] * layout.page_size
    chosen = inside & alike[:, np.newaxis]
    return times[chosen], (bases + headers + 4)[chosen], alike


def _split(headers: npt.NDArray[np.uint32], layout: PageLayout) -> tuple[npt.NDArray[np.uint32], Ints]:
    """Kind, and nanoseconds since the one before, of records' headers."""
    if layout.big_endian:
        return headers >> np.uint32(layout.delta_bits), (headers & np.uint32((1 << layout.delta_bits) - 1)).astype(
            np.int64
        )
    return headers & np.uint32((1 << layout.type_bits) - 1), (headers >> np.uint32(layout.type_bits)).astype(np.int64)


def _number(pages: Bytes, offset: int, width: int, order: str) -> Ints:
    """A field of all pages' headers."""
    column = np.ascontiguousarray(pages[:, offset : offset + width]).view(f"{order}u{width}")[:, 0]
    return column.astype(np.int64)
