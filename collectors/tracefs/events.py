"""Reads a captured trace: its events by name, when it was on, what was lost, and what tasks it saw."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgeprof.collectors.parsing import read_raw
from edgeprof.collectors.tracefs.capture import LOSS_COUNTS
from edgeprof.collectors.tracefs.capture_files import parse_stats
from edgeprof.collectors.tracefs.capture_windows import WINDOW
from edgeprof.collectors.tracefs.columns import Bytes, CpuTrace, EventColumns, gather
from edgeprof.collectors.tracefs.formats import EventFormat, FormatError, PageLayout, parse_event, parse_layout
from edgeprof.collectors.tracefs.ring_buffer import Decoded, decode
from edgeprof.collectors.tracefs.tasks import OWNERS, Tasks, read_tasks

__all__ = ["OWNERS", "EventColumns", "Trace", "read_trace"]

_SLACK_NS = 1_000_000_000
"""Events this far outside the time of tracing are damage: the switch and the clock are not read together."""

_MAX_CPUS = 1 << 16


@dataclass
class Trace:
    """A captured trace.

    Attributes:
        windows: when tracing was on, as (begin, end) in CLOCK_MONOTONIC ns, end 0 where the capture was cut off
            inside the last one; None: it was on throughout.
        lost: events the kernel dropped; None: some were, but nobody counted them.
        notes: sentences for the report.
    """

    layout: PageLayout | None = None
    formats: dict[tuple[str, str], EventFormat] = field(default_factory=dict)
    cpus: list[CpuTrace] = field(default_factory=list)
    windows: list[tuple[int, int]] | None = None
    lost: int | None = 0
    notes: list[str] = field(default_factory=list)
    saved_names: dict[int, str] = field(default_factory=dict)
    kernel_tasks: list[int] = field(default_factory=list)

    def has(self, system: str, event: str) -> bool:
        """Whether the event was enabled."""
        return (system, event) in self.formats

    def get(self, system: str, event: str) -> EventColumns:
        """The events of one kind; no rows where it was not enabled."""
        return EventColumns(self.layout, self.formats.get((system, event)), self.cpus)

    @cached_property
    def tasks(self) -> Tasks:
        """The tasks that the trace knows: names, processes, owners."""
        new, renamed = self.get("task", "task_newtask"), self.get("task", "task_rename")
        return read_tasks(new, renamed, self.saved_names, self.kernel_tasks)

    def comm(self, pid: int) -> str | None:
        """The last known command name of a task; None where it never was recorded."""
        return self.tasks.names.get(pid)

    def tasks_of(self, pids: Iterable[int]) -> frozenset[int]:
        """The given tasks and all threads and processes that they started while tracing was on."""
        return self.tasks.with_descendants(pids)

    @cached_property
    def process_of(self) -> dict[int, int]:
        """Task -> its process, for the tasks that were started while tracing was on."""
        return self.tasks.processes()


def read_trace(raw: Path) -> Trace:
    """Read ``raw/tracefs``; what is missing or damaged is a note, and the rest is read."""
    folder = raw / "tracefs"
    trace = Trace()
    try:
        header_page, header_event = (_text(folder / name) for name in ("header_page", "header_event"))
        trace.layout = parse_layout(header_page, header_event, _about(folder).get("byteorder") == "big")
    except FileNotFoundError:
        trace.notes.append("no kernel trace was captured")
        return trace
    except (OSError, FormatError) as error:
        trace.notes.append(f"the kernel trace cannot be read: {error}")
        return trace
    trace.formats = _formats(folder, trace.notes)
    windows = read_windows(folder)
    for cpu, path in _numbered(folder, "cpu", ".raw"):
        _read_cpu(trace, trace.layout, cpu, path, windows)
    trace.windows = windows if len(windows) > 1 else None
    trace.saved_names = _saved_names(folder)
    trace.kernel_tasks = [int(word) for word in _text_or_nothing(folder / "kernel_tasks").split() if _is_id(word)]
    _count_losses(trace, folder)
    return trace


def _read_cpu(trace: Trace, layout: PageLayout, cpu: int, path: Path, windows: list[tuple[int, int]]) -> None:
    try:
        data = _load(path)
    except OSError as error:
        trace.notes.append(f"the trace of CPU {cpu} cannot be read: {error}")
        return
    decoded = decode(data, layout)
    kept = _within(decoded, windows)
    if len(kept.time_ns) < len(decoded.time_ns):
        count = len(decoded.time_ns) - len(kept.time_ns)
        trace.notes.append(f"{count} events of CPU {cpu}'s trace have impossible times and were left out")
    common = next((item.fields["common_type"] for item in trace.formats.values()), None)
    offset = common.offset if common is not None else 0
    types = gather(data, kept.offset + offset, np.dtype(layout.order + "u2"))
    trace.cpus.append(CpuTrace(cpu, data, kept, types, len(decoded.time_ns)))
    if decoded.damaged:
        trace.notes.append(f"{decoded.damaged} of {decoded.pages} pages of CPU {cpu}'s trace are damaged")
    if decoded.cut:
        trace.notes.append(f"the trace of CPU {cpu} ends inside a page")


def _within(decoded: Decoded, windows: list[tuple[int, int]]) -> Decoded:
    """Without the events whose times cannot be: garbage in a page's header would stretch every axis."""
    times = decoded.time_ns
    if not len(times) or not windows:
        return decoded
    first, last = windows[0][0] - _SLACK_NS, windows[-1][1] + _SLACK_NS
    if times.min() >= first and (windows[-1][1] == 0 or times.max() <= last):
        return decoded
    keep = times >= first
    if windows[-1][1]:
        keep &= times <= last
    return replace(decoded, time_ns=times[keep], offset=decoded.offset[keep], size=decoded.size[keep])


def _load(path: Path) -> Bytes:
    """A raw file's bytes: mapped, or decompressed in memory."""
    if path.suffix == ".zst":
        return np.frombuffer(read_raw(path.with_suffix("")), np.uint8)
    with path.open("rb") as file:
        if path.stat().st_size == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _numbered(folder: Path, prefix: str, suffix: str) -> list[tuple[int, Path]]:
    """Files PREFIX<number>SUFFIX, plain or compressed, in the order of their numbers."""
    found: dict[int, Path] = {}
    for path in sorted(folder.glob(f"{prefix}*")):
        name = _plain(path)
        number = name[len(prefix) : len(name) - len(suffix)]
        if name.endswith(suffix) and _is_id(number) and int(number) < _MAX_CPUS:
            found.setdefault(int(number), path)
    return sorted(found.items())


def _plain(path: Path) -> str:
    return path.name.removesuffix(".zst")


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _text(path: Path) -> str:
    return read_raw(path).decode("utf-8", "replace")


def _text_or_nothing(path: Path) -> str:
    try:
        return _text(path)
    except OSError:
        return ""


def _about(folder: Path) -> dict[str, Any]:
    try:
        about = json.loads(_text_or_nothing(folder / "about.json"))
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def _formats(folder: Path, notes: list[str]) -> dict[tuple[str, str], EventFormat]:
    formats: dict[tuple[str, str], EventFormat] = {}
    for path in sorted((folder / "formats").glob("*.*")):
        system, _, event = _plain(path).partition(".")
        try:
            formats[system, event] = parse_event(_text(path.with_name(_plain(path))))
        except (OSError, FormatError) as error:
            notes.append(f"the format of {system}:{event} cannot be read: {error}")
    return formats


def read_windows(folder: Path) -> list[tuple[int, int]]:
    """When tracing was on, in the order of time, from the folder of a trace.

    Each window is written when it begins, and again with its end when it ends.
    """
    try:
        content = read_raw(folder / "windows.bin")
    except OSError:
        return []
    records = WINDOW.iter_unpack(content[: len(content) // WINDOW.size * WINDOW.size])
    windows = {begin: end for begin, end in records if max(begin, end) < 1 << 62}
    return sorted((begin, end) for begin, end in windows.items() if end == 0 or end >= begin)


def _saved_names(folder: Path) -> dict[int, str]:
    names: dict[int, str] = {}
    for line in _text_or_nothing(folder / "saved_cmdlines").splitlines():
        pid, _, name = line.strip().partition(" ")
        if _is_id(pid) and name != "<...>":
            names[int(pid)] = name
    return names


def _count_losses(trace: Trace, folder: Path) -> None:
    """The kernel's own counts where they were saved, else what the pages tell; and what was read but is not here."""
    found = {item.cpu: item.found for item in trace.cpus}
    counted: dict[int, int] = {}
    missing = 0
    for cpu, path in _numbered(folder, "stats.cpu", ""):
        stats = parse_stats(_text_or_nothing(path.with_name(_plain(path))).encode())
        if stats:
            counted[cpu] = sum(stats.get(name, 0) for name in LOSS_COUNTS)
            missing += max(0, stats.get("read events", 0) - found.get(cpu, 0))
    lost, unknown = sum(counted[cpu] for cpu in set(counted) - set(found)), False
    for item in trace.cpus:
        lost += max(counted.get(item.cpu, 0), item.decoded.lost)
        unknown |= item.decoded.lost_unknown > 0 and item.cpu not in counted
    trace.lost = None if unknown else lost + missing
    if unknown:
        trace.notes.append("the kernel dropped trace events; how many is not known")
    elif lost:
        trace.notes.append(f"the kernel dropped {lost} trace events: they came faster than they were read")
    if missing:
        trace.notes.append(f"{missing} trace events were taken from the kernel but are not in the raw files")
