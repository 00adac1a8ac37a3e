"""Fields of decoded trace events as NumPy columns, gathered from the file when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.tracefs.formats import EventFormat, Field, PageLayout
from edgeprof.collectors.tracefs.ring_buffer import Decoded

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

MAX_TEXT = 4096
"""Longer dynamic strings are cut."""


@dataclass
class CpuTrace:
    """One CPU's file and what it holds.

    ``types`` is each event's common_type; ``found`` counts also the events that were left out for impossible times.
    """

    cpu: int
    data: Bytes
    decoded: Decoded
    types: npt.NDArray[np.uint16]
    found: int


class EventColumns:
    """All events of one kind, the CPUs one after the other, each CPU's in the order of time.

    An event that was not captured has no rows and no names.
    """

    def __init__(self, layout: PageLayout | None, kind: EventFormat | None, cpus: Iterable[CpuTrace]) -> None:
        self._order = layout.order if layout is not None else "<"
        self._kind = kind
        self._parts: list[tuple[CpuTrace, Ints]] = []
        if kind is not None:
            for trace in cpus:
                # A record shorter than its fixed fields is damage.
                rows = np.flatnonzero((trace.types == kind.number) & (trace.decoded.size >= kind.size))
                self._parts.append((trace, rows))

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self._parts)

    @property
    def names(self) -> dict[str, Field]:
        """The fields by name, the common ones included."""
        return {} if self._kind is None else dict(self._kind.fields)

    @cached_property
    def time_ns(self) -> Ints:
        """CLOCK_MONOTONIC, ns."""
        return _joined((trace.decoded.time_ns[rows] for trace, rows in self._parts), np.dtype(np.int64))

    @cached_property
    def cpu(self) -> npt.NDArray[np.int32]:
        """The CPU each event was recorded on."""
        return _joined((np.full(len(rows), trace.cpu, np.int32) for trace, rows in self._parts), np.dtype(np.int32))

    @property
    def pid(self) -> npt.NDArray[Any]:
        """The task (thread) that was running: common_pid."""
        return self.field("common_pid")

    def field(self, name: str) -> npt.NDArray[Any]:
        """An integer field in its own width and sign, or an array field as bytes of shape (events, size).

        Raises:
            KeyError: the event has no such field.
        """
        if self._kind is None:
            return np.empty(0, np.int64)
        item = self._kind.fields[name]
        if item.kind in ("text", "array"):
            raw = self._gather(item.offset, np.dtype(f"V{item.size}"))
            return raw.view(np.uint8).reshape(len(raw), item.size)
        letter = "i" if item.signed and item.kind == "integer" else "u"
        return self._gather(item.offset, np.dtype(f"{self._order}{letter}{item.size}"))

    def text(self, name: str) -> npt.NDArray[np.bytes_]:
        """A char array or dynamic string, cut at its first NUL, as fixed-width bytes.

        Raises:
            KeyError: the event has no such field.
        """
        if self._kind is None:
            return np.empty(0, "S1")
        if self._kind.fields[name].kind in ("data_loc", "rel_loc"):
            return self._dynamic(self._kind.fields[name])
        codes, values = self.categories(name)
        return values[codes] if len(values) else np.empty(0, "S1")

    def categories(self, name: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bytes_]]:
        """A text field as codes and distinct values: ``values[codes]`` is the text of each event.

        Raises:
            KeyError: the event has no such field.
        """
        if self._kind is None:
            return np.empty(0, np.int32), np.empty(0, "S1")
        item = self._kind.fields[name]
        if item.kind == "text":
            raw = self._gather(item.offset, np.dtype(f"V{item.size}"))
            codes, distinct = _encode(raw, item.size)
        else:
            texts = self._dynamic(item)
            codes, distinct = _encode(texts.view(f"V{texts.dtype.itemsize}"), texts.dtype.itemsize)
        # What stands behind the NUL is left over from older records: the same text may have come more than once.
        cut = np.array([value.split(b"\0", 1)[0] for value in distinct] or [b""], np.bytes_)
        values, inverse = np.unique(cut, return_inverse=True)
        return inverse.astype(np.int32)[codes], values

    def _gather(self, offset: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        parts = (gather(trace.data, trace.decoded.offset[rows] + offset, kind) for trace, rows in self._parts)
        return _joined(parts, kind.newbyteorder("="))

    def _dynamic(self, item: Field) -> npt.NDArray[np.bytes_]:
        where = self._gather(item.offset, np.dtype(f"{self._order}u4"))
        begin, length = (where & 0xFFFF).astype(np.int64), (where >> 16).astype(np.int64)
        if item.kind == "rel_loc":
            begin += item.offset + item.size
        size = _joined((trace.decoded.size[rows] for trace, rows in self._parts), np.dtype(np.uint32)).astype(np.int64)
        length = np.clip(np.minimum(length, size - begin), 0, MAX_TEXT)
        width = int(length.max(initial=1)) or 1
        texts = np.zeros((len(where), width), np.uint8)
        done = 0
        for trace, rows in self._parts:
            part = slice(done, done + len(rows))
            starts = trace.decoded.offset[rows] + begin[part]
            for index in range(width):
                has = np.flatnonzero(length[part] > index)
                texts[done + has, index] = trace.data[starts[has] + index]
            done += len(rows)
        return np.array([value.split(b"\0", 1)[0] for value in texts.view(f"S{width}")[:, 0]], f"S{width}")


def gather(data: Bytes, where: Ints, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The items of ``kind`` that begin at the byte offsets ``where``, in native byte order; no alignment is needed.

    All offsets must leave room for a whole item.
    """
    width = kind.itemsize
    if len(data) < width or not len(where):
        return np.empty(0, kind.newbyteorder("="))
    sliding: npt.NDArray[Any] = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
    taken: npt.NDArray[Any] = sliding[where].view(kind)
    return taken.astype(kind.newbyteorder("="), copy=False)


def _encode(raw: npt.NDArray[Any], width: int) -> tuple[npt.NDArray[np.int32], list[bytes]]:
    if not len(raw):
        return np.empty(0, np.int32), []
    import pyarrow as pa  # here only: what reads events without text, and for long, goes without its memory

    buffer = pa.py_buffer(np.ascontiguousarray(raw))
    encoded = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(raw), [None, buffer]).dictionary_encode()
    # Not Array.to_numpy(), which imports pandas: a quarter of a second at each ingest.
    return np.frombuffer(encoded.indices.buffers()[1], np.int32, len(raw)), encoded.dictionary.to_pylist()


def _joined(parts: Iterable[npt.NDArray[Any]], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    arrays = [part for part in parts if len(part)]
    return np.concatenate(arrays) if arrays else np.empty(0, kind)
