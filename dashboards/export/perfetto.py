"""Exports a run as a Chrome trace (JSON), which ui.perfetto.dev and chrome://tracing open.

Format: "Trace Event Format", Google, 2016.  Phases are complete events ("X") of their process
and thread, steps complete events of a track of their own, block requests nestable asynchronous
events ("b", "e") with one process track a device, and memory, pressure, CPU and power are
counters ("C").  Of a part of a run, slices that overlap it are there whole.  Times are
CLOCK_MONOTONIC in microseconds with three decimals, so that traces of other tools from the same
machine can be laid beside it; the clock triplets stand in ``otherData``.
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from edgeprof.dashboards.export.counters import counters
from edgeprof.dashboards.export.part import WHOLE, Part, Spans
from edgeprof.profiler.errors import NotIngested
from edgeprof.profiler.files import replacing
from edgeprof.profiler.run import Run

DEVICE_TRACKS = 1_000_000_000
"""Devices and counters get process numbers from here on: above the kernel's largest pid (4194304)."""
_BATCH = 65536


def write(run: Run, path: Path, part: Part = WHOLE) -> Path:
    """Write the trace to a file; compressed with gzip when its name ends in ``.gz``.

    Raises:
        NotIngested: the run has no tables.
        EmptyPart, NoSuchPhase: see `Part.spans`.
        CannotWrite: the file cannot be written.
    """
    if not run.tables:
        raise NotIngested(run.path)
    spans = part.spans(run)
    with replacing(path) as temporary, ExitStack() as stack:
        file: Any = stack.enter_context(temporary.open("wb"))
        if path.suffix == ".gz":
            file = stack.enter_context(gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=2, mtime=0))
        text = stack.enter_context(io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="\n"))
        _write_trace(run, spans, text)
    return path


def _write_trace(run: Run, spans: Spans, text: IO[str]) -> None:
    text.write('{"displayTimeUnit":"ms","otherData":' + json.dumps(_facts(run)) + ',"traceEvents":[\n')
    first = True
    for block in _blocks(events(run, spans)):
        text.write(("" if first else ",\n") + block)
        first = False
    text.write("\n]}\n")


def _facts(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    facts = {
        key: manifest["run"].get(key) for key in ("id", "name", "command", "started", "start_ns", "end_ns", "exit_code")
    }
    return {"edgeprof": manifest.get("edgeprof"), "clock": "CLOCK_MONOTONIC", "clocks": manifest.get("clocks"), **facts}


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    """Lines joined to large pieces."""
    piece: list[str] = []
    for line in lines:
        piece.append(line)
        if len(piece) >= 8192:
            yield ",\n".join(piece)
            piece = []
    if piece:
        yield ",\n".join(piece)


def events(run: Run, spans: Spans) -> Iterator[str]:
    """All events of the trace, one JSON object a line."""
    yield from _phases(run, spans)
    yield from _steps(run, spans)
    yield from _requests(run, spans)
    yield from _counters(run, spans)


def us(time_ns: int) -> str:
    """Nanoseconds as microseconds, exactly."""
    sign = "-" if time_ns < 0 else ""
    return f"{sign}{abs(time_ns) // 1000}.{abs(time_ns) % 1000:03d}"


def _rows(run: Run, spans: Spans, table: str, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of a table as tuples, None for null or for a column that is not there; nothing without the table."""
    if not run.has(table):
        return
    data = spans.rows(run.arrow(table))
    for batch in data.select([name for name in columns if name in data.column_names]).to_batches(_BATCH):
        present = {name: batch.column(name).to_pylist() for name in batch.schema.names}
        nothing = [None] * batch.num_rows
        yield from zip(*(present.get(name, nothing) for name in columns), strict=False)


def name_event(pid: int, name: str, tid: int | None = None) -> str:
    """The metadata event that names a process or, with ``tid``, a thread."""
    event: dict[str, Any] = {"ph": "M", "name": "process_name" if tid is None else "thread_name", "pid": pid}
    if tid is not None:
        event["tid"] = tid
    return json.dumps({**event, "args": {"name": name}})


def _phases(run: Run, spans: Spans) -> Iterator[str]:
    names: dict[str, str] = {}
    main: set[int] = set()
    seen: set[int] = set()
    for start, end, name, pid, tid, is_main, cut in _rows(
        run, spans, "phases", ["start_ns", "end_ns", "name", "pid", "tid", "main", "cut"]
    ):
        if start is None or end is None or end < start:
            continue
        seen.add(pid or 0)
        if is_main:
            main.add(pid or 0)
        text = names.setdefault(name, json.dumps(name or "?"))
        flag = ',"args":{"cut":true}' if cut else ""
        yield (
            f'{{"ph":"X","cat":"phase","name":{text},"pid":{pid or 0},"tid":{tid or pid or 0},'
            f'"ts":{us(start)},"dur":{us(end - start)}{flag}}}'
        )
    for pid in sorted(seen):
        yield name_event(pid, "main process" if pid in main else "process")


def _steps(run: Run, spans: Spans) -> Iterator[str]:
    track = DEVICE_TRACKS - 1
    found = False
    for step, start, end, samples in _rows(run, spans, "steps", ["step", "start_ns", "end_ns", "samples"]):
        if start is None or end is None or end < start:
            continue
        found = True
        more = f',"args":{{"samples":{json.dumps(samples)}}}' if samples is not None else ""
        yield (
            f'{{"ph":"X","cat":"step","name":"step {step}","pid":{track},"tid":1,'
            f'"ts":{us(start)},"dur":{us(end - start)}{more}}}'
        )
    if found:
        yield name_event(track, "steps")


_BLOCK_COLUMNS = ["queued_ns", "issued_ns", "completed_ns", "device", "op", "bytes", "sector", "comm", "pid", "owner"]


def _requests(run: Run, spans: Spans) -> Iterator[str]:
    """A slice from queue to completion with the device's part inside; one still open at the end has no end event."""
    devices: dict[str, int] = {}
    quoted: dict[Any, str] = {}

    def text(value: Any) -> str:
        found = quoted.get(value)
        if found is None:
            found = quoted[value] = json.dumps(value)
        return found

    number = 0
    for queued, issued, completed, device, op, size, sector, comm, pid, owner in _rows(
        run, spans, "block_io", _BLOCK_COLUMNS
    ):
        start = queued if queued is not None else issued
        if start is None:
            continue
        number += 1
        track = devices.setdefault(device or "?", DEVICE_TRACKS + len(devices))
        common = f'"cat":"block","id2":{{"local":"{number}"}},"pid":{track},"tid":{track}'
        name = f'"name":{text(op or "request")}'
        yield (
            f'{{"ph":"b",{common},{name},"ts":{us(start)},"args":{{"bytes":{text(size)},"sector":{text(sector)},'
            f'"comm":{text(comm)},"pid":{text(pid)},"owner":{text(owner)}}}}}'
        )
        if completed is None or completed < start:
            continue
        if queued is not None and issued is not None and queued <= issued <= completed:
            yield f'{{"ph":"b",{common},"name":"in the device","ts":{us(issued)}}}'
            yield f'{{"ph":"e",{common},"name":"in the device","ts":{us(completed)}}}'
        yield f'{{"ph":"e",{common},{name},"ts":{us(completed)}}}'
    for device, track in devices.items():
        yield name_event(track, f"block device {device}")


def _counters(run: Run, spans: Spans) -> Iterator[str]:
    track, found = DEVICE_TRACKS - 2, False
    for counter in counters(run):
        name = json.dumps(counter.name)
        keys = [json.dumps(key) for key in counter.values]
        held = spans.hold(counter.time_ns)
        for time_ns, *values in zip(
            counter.time_ns[held].tolist(), *(item[held].tolist() for item in counter.values.values()), strict=False
        ):
            known = ",".join(
                f"{key}:{value:.9g}" for key, value in zip(keys, values, strict=False) if value == value
            )  # not NaN
            if known:
                found = True
                yield f'{{"ph":"C","name":{name},"pid":{track},"ts":{us(time_ns)},"args":{{{known}}}}}'
    if found:
        yield name_event(track, "counters")
