"""A captured trace as columns: events by name, fields as arrays, nothing read before it is asked for."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprof.collectors.parsing import read_raw
from edgeprof.collectors.tracefs import ring_buffer
from edgeprof.collectors.tracefs.capture import LOSS_COUNTS, WINDOW, parse_stats
from edgeprof.collectors.tracefs.formats import BadFormat, EventFormat, Field, PageLayout, parse_event, parse_layout

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

MAX_TEXT = 4096
"""Longer dynamic strings are cut."""
_CLONE_THREAD = 0x10000  # uapi/linux/sched.h


@dataclass
class CpuTrace:
    """One CPU's file and what it holds; ``types`` is each event's common_type."""

    cpu: int
    data: Bytes
    decoded: ring_buffer.Decoded
    types: npt.NDArray[np.uint16]


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
        cut = np.array([value.split(b"\0", 1)[0] for value in distinct], f"S{max(item.size, 1)}")
        values, inverse = np.unique(cut, return_inverse=True)
        return inverse.astype(np.int32)[codes], values

    def _gather(self, offset: int, kind: np.dtype[Any]) -> npt.NDArray[Any]:
        parts = (_take(trace.data, trace.decoded.offset[rows] + offset, kind) for trace, rows in self._parts)
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


@dataclass
class Trace:
    """A captured trace.

    Attributes:
        windows: when tracing was on, as (begin, end) in CLOCK_MONOTONIC ns; None: throughout.
        lost: events the kernel dropped; None: some were, but nobody counted them.
        notes: sentences for the report.
    """

    layout: PageLayout | None = None
    formats: dict[tuple[str, str], EventFormat] = field(default_factory=dict)
    cpus: list[CpuTrace] = field(default_factory=list)
    windows: list[tuple[int, int]] | None = None
    lost: int | None = 0
    notes: list[str] = field(default_factory=list)
    saved_commands: dict[int, str] = field(default_factory=dict)

    def has(self, system: str, event: str) -> bool:
        """Whether the event was enabled."""
        return (system, event) in self.formats

    def get(self, system: str, event: str) -> EventColumns:
        """The events of one kind; no rows where it was not enabled."""
        return EventColumns(self.layout, self.formats.get((system, event)), self.cpus)

    def comm(self, pid: int) -> str | None:
        """The last known command name of a task; None where it never was recorded."""
        return self._commands.get(pid)

    @cached_property
    def _commands(self) -> dict[int, str]:
        commands = dict(self.saved_commands)
        names: list[tuple[int, int, bytes]] = []
        for event, name in (("task_newtask", "comm"), ("task_rename", "newcomm")):
            columns = self.get("task", event)
            if name in columns.names:
                task = columns.field("pid" if "pid" in columns.names else "common_pid")
                names += zip(columns.time_ns.tolist(), task.tolist(), columns.text(name).tolist(), strict=True)
        for _, pid, text in sorted(names):
            commands[pid] = text.decode("utf-8", "replace")
        return commands

    def tasks_of(self, pids: Iterable[int]) -> frozenset[int]:
        """The given tasks and all that they started while tracing was on: threads and child processes."""
        known = set(pids)
        columns = self.get("task", "task_newtask")
        if len(columns):
            order = np.argsort(columns.time_ns, kind="stable")
            for parent, child in zip(columns.pid[order].tolist(), columns.field("pid")[order].tolist(), strict=True):
                if parent in known:
                    known.add(child)
        return frozenset(known)

    @cached_property
    def process_of(self) -> dict[int, int]:
        """Thread -> its process, for the threads that were started while tracing was on."""
        processes: dict[int, int] = {}
        columns = self.get("task", "task_newtask")
        if "clone_flags" in columns.names:
            order = np.argsort(columns.time_ns, kind="stable")
            flags, parents = columns.field("clone_flags")[order], columns.pid[order]
            for flag, parent, child in zip(
                flags.tolist(), parents.tolist(), columns.field("pid")[order].tolist(), strict=True
            ):
                processes[child] = processes.get(parent, parent) if flag & _CLONE_THREAD else child
        return processes


def read_trace(raw: Path) -> Trace:
    """Read ``raw/tracefs``; what is missing or damaged is a note, and the rest is read."""
    folder = raw / "tracefs"
    trace = Trace()
    about = _about(folder)
    try:
        header_page, header_event = (read_raw(folder / name).decode("ascii", "replace") for name in _HEADERS)
        trace.layout = parse_layout(header_page, header_event, about.get("byteorder") == "big")
    except FileNotFoundError:
        trace.notes.append("no kernel trace was captured")
        return trace
    except (OSError, BadFormat) as error:
        trace.notes.append(f"the kernel trace cannot be read: {error}")
        return trace
    trace.formats = _formats(folder, trace.notes)
    for cpu, path in _numbered(folder, "cpu", ".raw"):
        _read_cpu(trace, trace.layout, cpu, path)
    trace.windows = _windows(folder)
    trace.saved_commands = _saved_commands(folder)
    _count_losses(trace, folder)
    return trace


_HEADERS = ("header_page", "header_event")


def _read_cpu(trace: Trace, layout: PageLayout, cpu: int, path: Path) -> None:
    try:
        data = _load(path)
    except OSError as error:
        trace.notes.append(f"the trace of CPU {cpu} cannot be read: {error}")
        return
    decoded = ring_buffer.decode(data, layout)
    common = next((item.fields["common_type"] for item in trace.formats.values()), None)
    if common is None or common.size != 2:
        types = np.zeros(len(decoded.offset), np.uint16)
    else:
        types = _take(data, decoded.offset + common.offset, np.dtype(layout.order + "u2"))
    trace.cpus.append(CpuTrace(cpu, data, decoded, types))
    if decoded.damaged:
        trace.notes.append(f"{decoded.damaged} of {decoded.pages} pages of CPU {cpu}'s trace are damaged")
    if decoded.cut:
        trace.notes.append(f"the trace of CPU {cpu} ends inside a page")


def _load(path: Path) -> Bytes:
    if path.suffix != ".zst":
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return np.empty(0, np.uint8)
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    return np.frombuffer(read_raw(path.with_suffix("")), np.uint8)


def _numbered(folder: Path, prefix: str, suffix: str) -> list[tuple[int, Path]]:
    """Files PREFIX<number>SUFFIX, plain or compressed, in the order of their numbers."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"{prefix}*")):
        name = path.name[: -len(".zst")] if path.suffix == ".zst" else path.name
        number = name[len(prefix) : len(name) - len(suffix)]
        if name.endswith(suffix) and number.isdecimal():
            found.setdefault(int(number), path)
    return sorted(found.items())


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads(read_raw(folder / "about.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _formats(folder: Path, notes: list[str]) -> dict[tuple[str, str], EventFormat]:
    formats: dict[tuple[str, str], EventFormat] = {}
    for path in sorted((folder / "formats").glob("*.*")):
        name = path.name[: -len(".zst")] if path.suffix == ".zst" else path.name
        system, _, event = name.partition(".")
        try:
            formats[system, event] = parse_event(read_raw(path.with_name(name)).decode("ascii", "replace"))
        except (OSError, BadFormat) as error:
            notes.append(f"the format of {system}:{event} cannot be read: {error}")
    return formats


def _windows(folder: Path) -> list[tuple[int, int]] | None:
    try:
        content = read_raw(folder / "windows.bin")
    except OSError:
        return None
    windows: dict[int, int] = {}
    for begin, end in WINDOW.iter_unpack(content[: len(content) // WINDOW.size * WINDOW.size]):
        if begin < 1 << 63 and end < 1 << 63:
            windows[begin] = end
    if len(windows) <= 1:
        return None
    return [(begin, end) for begin, end in windows.items()]


def _saved_commands(folder: Path) -> dict[int, str]:
    try:
        content = read_raw(folder / "saved_cmdlines")
    except OSError:
        return {}
    commands: dict[int, str] = {}
    for line in content.splitlines():
        pid, _, name = line.partition(b" ")
        if pid.isdigit() and len(pid) < 10 and name != b"<...>":
            commands[int(pid)] = name.decode("utf-8", "replace")
    return commands


def _count_losses(trace: Trace, folder: Path) -> None:
    """The kernel's own counts where they were saved, else what the pages tell."""
    counted: dict[int, int] = {}
    for cpu, path in _numbered(folder, "stats.cpu", ""):
        try:
            stats = parse_stats(read_raw(path.with_name(f"stats.cpu{cpu}")))
        except OSError:
            continue
        counted[cpu] = sum(stats.get(name, 0) for name in LOSS_COUNTS)
    lost: int | None = 0
    for item in trace.cpus:
        if item.cpu in counted:
            lost = None if lost is None else lost + max(counted[item.cpu], item.decoded.lost)
        elif item.decoded.lost_unknown:
            lost = None
        elif lost is not None:
            lost += item.decoded.lost
    trace.lost = lost
    if lost is None:
        trace.notes.append("the kernel dropped trace events, their number is not known")
    elif lost:
        trace.notes.append(f"the kernel dropped {lost} trace events because they came faster than they were read")


def _take(data: Bytes, where: Ints, kind: np.dtype[Any]) -> npt.NDArray[Any]:
    """The items of ``kind`` that begin at the byte offsets ``where``, in native byte order; no alignment is needed."""
    width = kind.itemsize
    if len(data) < width or not len(where):
        return np.empty(0, kind.newbyteorder("="))
    sliding = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
    return sliding[where].view(kind).astype(kind.newbyteorder("="), copy=False)


def _encode(raw: npt.NDArray[Any], width: int) -> tuple[npt.NDArray[np.int32], list[bytes]]:
    import pyarrow as pa

    if not len(raw):
        return np.empty(0, np.int32), []
    buffer = pa.py_buffer(np.ascontiguousarray(raw))
    encoded = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(raw), [None, buffer]).dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _joined(parts: Iterable[npt.NDArray[Any]], kind: np.dtype[Any]) -> npt.NDArray[Any]:
    arrays = [part for part in parts if len(part)]
    return np.concatenate(arrays) if arrays else np.empty(0, kind)
