"""Turns a captured block trace into the table ``block_io``; see docs/block.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from edgeprof.collectors.block import blk_tracer, blktrace, trace_events
from edgeprof.collectors.block.actions import NO_NAME, NO_SECTOR, Int32, Int64, Mask
from edgeprof.collectors.block.capture_places import EXTENT
from edgeprof.collectors.block.encoding import encode, text
from edgeprof.collectors.block.kinds import OPERATIONS
from edgeprof.collectors.block.owner import Extents, of_held_back, owners
from edgeprof.collectors.block.requests import Requests, pair
from edgeprof.collectors.parsing import Parsed, RunFacts, read_raw
from edgeprof.collectors.schema import empty, table
from edgeprof.collectors.tracefs.capture_windows import WINDOW
from edgeprof.collectors.tracefs.events import Trace, read_trace
from edgeprof.collectors.tracefs.tasks import OWNERS

_WHOLE = 0.99
"""A trace that was on for this share of the run is whole: switching it on and off takes a moment."""


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Read what the block collector captured, whichever back end it used."""
    folder = raw / "block"
    about = _json(folder / "about.json")
    backend = about.get("backend", "tracefs")
    parsed = Parsed({"block_io": empty("block_io")})
    share = 1.0
    if backend == "blktrace":
        recording = blktrace.read(_blktrace_files(folder))
        parsed.notes.extend(recording.notes)
        actions = recording.actions(recording.shift_to_monotonic(facts.realtime_to_monotonic()))
        parsed.lost = _blktrace_lost(folder)
        trace = read_trace(raw)  # of the run's tasks only
    else:
        place = folder / "blk" if backend == "blk" else raw
        trace, share = read_trace(place), _watched_share(place, facts)
        parsed.notes.extend(trace.notes)
        parsed.lost = trace.lost
        actions = blk_tracer.actions_of(trace) if backend == "blk" else trace_events.actions_of(trace, _disks(about))
    if share < _WHOLE:
        parsed.notes.append(
            f"block requests were captured {share:.0%} of the time, to keep within the budget: counts and bytes are "
            "those of that time"
        )
    if len(actions):
        lossy = parsed.lost != 0 or share < _WHOLE
        parsed.tables["block_io"] = _table(pair(actions, lossy), trace, about, folder, facts)
    return parsed


def _table(requests: Requests, trace: Trace, about: Mapping[str, Any], folder: Path, facts: RunFacts) -> pa.Table:
    end = _json(folder / "end.json")
    tasks = trace.tasks
    if not tasks.kernel:  # blktrace's files know no tasks
        tasks = replace(tasks, kernel=frozenset(_numbers(end.get("kernel_tasks"))))
    processes = {**_saved_processes(folder), **tasks.processes()}
    owner = owners(requests, tasks, facts, processes, _extents(folder))
    for number, operations in facts.held_back.items():
        dev = _dev(number)
        if dev is not None:
            owner = of_held_back(owner, requests, dev, operations)
    return to_table(requests, owner, device_names(facts.host, about, end))


def to_table(requests: Requests, owner: Int32, names: Mapping[int, str]) -> pa.Table:
    """Requests as the table ``block_io``; ``names`` gives a device's name by its number."""
    device_codes, devices = encode(requests.dev.astype(np.uint64))
    found = [names.get(dev, f"{dev >> 20 & 0xFFF}:{dev & 0xFFFFF}") for dev in requests.dev[devices].tolist()]
    flag_codes, flags = encode(requests.rwbs)
    return table(
        "block_io",
        {
            "queued_ns": _column(requests.queued, requests.has_queued),
            "inserted_ns": _column(requests.inserted, requests.has_inserted),
            "issued_ns": _column(requests.issued, requests.has_issued),
            "completed_ns": _column(requests.completed, requests.has_completed),
            "dev": _column(requests.dev),
            "device": _dictionary(device_codes, found),
            "sector": _column(requests.sector, requests.sector != NO_SECTOR),
            "bytes": _column(requests.length),
            "op": _dictionary(requests.kind.astype(np.int32), list(OPERATIONS)),
            "flags": _dictionary(flag_codes, [text(int(requests.rwbs[at])) for at in flags]),
            "pid": _column(requests.pid, requests.has_asker),
            "comm": _dictionary(
                requests.comm,
                [name.decode("utf-8", "replace") for name in requests.names],
                requests.has_asker & (requests.comm != NO_NAME),
            ),
            "error": _column(-requests.error, requests.has_completed),
            "owner": _dictionary(owner, list(OWNERS)),
            "inserted_sector": _column(
                requests.inserted_sector, requests.has_inserted & (requests.inserted_sector != NO_SECTOR)
            ),
            "inserted_bytes": _column(requests.inserted_length, requests.has_inserted),
        },
    )


def _column(values: Int64 | Int32, known: Mask | None = None) -> pa.Array:
    """An integer column, null where it is not known.

    Made of its buffers: `pyarrow.array` would import pandas to look at a NumPy array.
    """
    kind = pa.int64() if values.dtype == np.int64 else pa.int32()
    valid = None if known is None else pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(np.ascontiguousarray(values))])


def _dictionary(codes: Int32, values: list[str], known: Mask | None = None) -> pa.DictionaryArray:
    """Codes and texts as an Arrow dictionary of distinct values, null where they are not known."""
    distinct = {value: number for number, value in enumerate(dict.fromkeys(values))}
    renumber = np.array([distinct[value] for value in values] or [0], np.int32)
    indices = renumber[codes] if known is None else renumber[np.where(known, codes, 0)]
    return pa.DictionaryArray.from_arrays(_column(indices, known), pa.array(list(distinct) or [""], pa.string()))


def device_names(*facts: Mapping[str, Any]) -> dict[int, str]:
    """Device number -> name: ``devices`` of several facts, by ``major:minor``; the first that knows it counts."""
    names: dict[int, str] = {}
    for known in (item.get("devices") for item in facts[::-1]):
        for number, details in known.items() if isinstance(known, Mapping) else ():
            dev = _dev(number)
            if dev is not None and isinstance(details, Mapping) and isinstance(details.get("name"), str):
                names[dev] = details["name"]
    return names


def _disks(about: Mapping[str, Any]) -> dict[int, int]:
    known = about.get("devices")
    disks: dict[int, int] = {}
    for number, details in known.items() if isinstance(known, Mapping) else ():
        dev, disk = _dev(number), _dev(details.get("disk")) if isinstance(details, Mapping) else None
        if dev is not None and disk is not None:
            disks[dev] = disk
    return disks


def _dev(text: object) -> int | None:
    major, separator, minor = str(text).partition(":")
    if not separator or not (major.isdecimal() and minor.isdecimal() and len(major) < 5 and len(minor) < 8):
        return None
    return int(major) << 20 | int(minor)


def _numbers(values: object) -> list[int]:
    return [value for value in values if isinstance(value, int)] if isinstance(values, list) else []


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_raw(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _extents(folder: Path) -> Extents:
    try:
        content = read_raw(folder / "extents.bin")
    except OSError:
        return Extents.of([])
    return Extents.of(EXTENT.iter_unpack(content[: len(content) // EXTENT.size * EXTENT.size]))


def _saved_processes(folder: Path) -> dict[int, int]:
    """Thread -> process, as tracefs' saved_tgids gives them."""
    try:
        content = read_raw(folder / "saved_tgids")
    except OSError:
        return {}
    pairs = (line.split() for line in content.splitlines())
    return {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2 and all(map(_is_pid, pair))}


def _is_pid(text: bytes) -> bool:
    return text.isdigit() and len(text) < 10


def _blktrace_files(folder: Path) -> list[tuple[str, bytes]]:
    names = {path.name.removesuffix(".zst") for path in folder.glob("*.blktrace.*")}
    files = []
    for name in sorted(names):
        try:
            files.append((name, read_raw(folder / name)))
        except OSError:
            continue
    return files


def _blktrace_lost(folder: Path) -> int | None:
    """Records that blktrace says the kernel dropped; None where it did not come to say it."""
    dropped = _json(folder / "end.json").get("dropped")
    return dropped if isinstance(dropped, int) else None


def _watched_share(folder: Path, facts: RunFacts) -> float:
    """Share of the run in which tracing was on, from the windows beside a trace; 1 where that is not known."""
    try:
        content = read_raw(folder / "tracefs" / "windows.bin")
    except OSError:
        return 1.0
    known = dict(WINDOW.iter_unpack(content[: len(content) // WINDOW.size * WINDOW.size]))  # ends replace beginnings
    run_end = facts.end_ns or max([*known, *known.values()], default=0)
    length = run_end - facts.start_ns
    if length <= 0 or not known:
        return 1.0
    watched = sum(max(0, min(end or run_end, run_end) - max(begin, facts.start_ns)) for begin, end in known.items())
    return min(1.0, float(watched) / length)
