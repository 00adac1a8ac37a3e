"""``perf stat`` intervals, JSON or CSV -> the table ``counters``."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.frames import read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts, read_raw

NOT_SUPPORTED = "not supported by this processor or virtual machine"
NOT_RUN = "the run's processes did not run in this interval"
NO_COUNTER = "no hardware counter was free in this interval"
USER_ONLY = "counted in user mode only, where it cannot happen; run as root to count it"

_KERNEL_EVENTS = frozenset({"context-switches", "cpu-migrations"})
_MAX_LINE = 65536
_MAX_SECONDS = 1e9  # 30 years
_ENABLING_SECONDS = 0.05
_NAME = re.compile(r"(?:(?P<pmu>[\w.\-]+)/)?(?P<event>[^/:\s]+)(?::(?P<inner>\w+))?(?:/(?P<outer>\w*))?", re.ASCII)


@dataclass(frozen=True)
class Count:
    """One event in one interval: ``time`` is perf's own, s since its start; ``running`` a share of 1."""

    time: float
    event: str
    value: float | None
    running: float | None
    user_only: bool
    supported: bool


@dataclass(frozen=True)
class Origin:
    """When perf's clock started, CLOCK_MONOTONIC ns, give or take ``error_ns``; ``ready_ns``: when it counted."""

    start_ns: int
    error_ns: int | None
    ready_ns: int | None


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Table ``counters``: one row an event and interval, times at the interval's end.

    Several processor types (big.LITTLE, hybrid) are added up, see `combined`.
    """
    folder = raw / "perf_stat"
    notes: list[str] = []
    for name, reader in (("stat.json", json_counts), ("stat.csv", csv_counts)):
        try:
            data = read_raw(folder / name)
        except OSError:
            continue
        counts, bad = reader(data)
        if bad:
            notes.append(f"perf_stat: {bad} line(s) of {name} could not be read")
        break
    else:
        return Parsed({"counters": schema.empty("counters")}, ["perf_stat: perf wrote no counts"])
    origin = _origin(folder, counts, facts, notes)
    users = sorted({count.event for count in counts if count.user_only})
    if users:
        notes.append(f"perf_stat: without root only user mode was counted for: {', '.join(users)}")
    return Parsed({"counters": _table(counts, origin)}, notes)


def json_counts(data: bytes) -> tuple[list[Count], int]:
    """Counts of ``perf stat -I -j`` (perf-stat(1), JSON FORMAT), and how many lines were damaged."""
    counts, bad = [], 0
    for line in _lines(data):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            bad += 1
            continue
        count = _from_json(record)
        if count is None:
            bad += isinstance(record, dict) is False or "counter-value" in record
        else:
            counts.append(count)
    return counts, bad


def csv_counts(data: bytes) -> tuple[list[Count], int]:
    """Counts of ``perf stat -I -x ';'`` (perf-stat(1), CSV FORMAT), and how many lines were damaged."""
    counts, bad = [], 0
    for line in _lines(data):
        fields = [item.strip() for item in line.split(";")]
        if len(fields) < 6:
            bad += 1
            continue
        time, value, _, event, _, running = fields[:6]
        count = _count(time, value, event, running)
        if count is None:
            bad += bool(event)  # lines without an event carry only a derived metric
        else:
            counts.append(count)
    return counts, bad


def combined(values: list[tuple[float, float]]) -> tuple[float, float]:
    """One figure for an event that several processor types counted, from (value, running share) of each.

    perf scales each type's count as if the run had spent all its time on processors of that type; value * running is
    what was really counted.  Their sum is scaled again only where even together they did not count all the time.
    """
    seen = sum(running for _, running in values)
    if seen <= 0:
        return sum(value for value, _ in values), 0.0
    return sum(value * running for value, running in values) / min(1.0, seen), min(1.0, seen)


def _lines(data: bytes) -> Iterator[str]:
    for line in data.split(b"\n"):
        line = line.strip()
        if line and not line.startswith(b"#"):
            yield line[:_MAX_LINE].decode("utf-8", "replace")


def _from_json(record: object) -> Count | None:
    if not isinstance(record, dict):
        return None
    time, value, event, running = (record.get(key) for key in ("interval", "counter-value", "event", "pcnt-running"))
    if value is None or event is None:
        return None
    return _count(str(time), str(value), str(event), str(running))


def _count(time: str, value: str, event: str, running: str) -> Count | None:
    """None when a field is not what perf prints."""
    seconds, share, name = _number(time), _number(running), _NAME.fullmatch(event)
    if seconds is None or not 0 <= seconds < _MAX_SECONDS or name is None or len(event) > 200:
        return None
    number = None if value.startswith("<not ") else _number(value)
    if number is None and not value.startswith("<not "):
        return None
    modifier = (name["inner"] or "") + (name["outer"] or "")
    return Count(
        seconds,
        name["event"],
        number,
        None if number is None or share is None else min(1.0, max(0.0, share / 100)),
        "u" in modifier and "k" not in modifier,
        not value.startswith("<not supp"),
    )


def _number(text: str) -> float | None:
    """A figure with a decimal point or comma (perf writes no thousands separators in these formats)."""
    try:
        number = float(text.replace(",", ".", 1) if "." not in text else text)
    except ValueError:
        return None
    return number if math.isfinite(number) and abs(number) < 1e18 else None


def _table(counts: list[Count], origin: Origin) -> pa.Table:
    grouped: dict[float, dict[str, list[Count]]] = {}
    for count in counts:
        grouped.setdefault(count.time, {}).setdefault(count.event, []).append(count)
    rows: list[tuple[object, ...]] = []
    before = 0.0 if origin.ready_ns is None else max(0.0, (origin.ready_ns - origin.start_ns) / 1e9)
    for index, time in enumerate(sorted(grouped)):
        if index == 0 and time - before < _ENABLING_SECONDS and not any(_valued(grouped[time])):
            continue  # perf 5.8 to 5.19 prints an interval of no length when it is told to count
        busy = any(count.value for count in grouped[time].get("task-clock", []))
        for event, parts in grouped[time].items():
            value, running, reason = _merged(event, parts, busy)
            end_ns = origin.start_ns + int(time * 1e9)
            rows.append((end_ns, max(0.0, time - before), event, value, running, reason))
        before = time
    return schema.from_rows("counters", ("time_ns", "interval", "event", "value", "running", "reason"), rows)


def _valued(interval: Mapping[str, list[Count]]) -> Iterator[bool]:
    return (part.value is not None for parts in interval.values() for part in parts)


def _merged(event: str, parts: list[Count], busy: bool) -> tuple[float | None, float | None, str | None]:
    if event in _KERNEL_EVENTS and all(part.user_only for part in parts):
        return None, None, USER_ONLY
    valued = [(part.value, 1.0 if part.running is None else part.running) for part in parts if part.value is not None]
    if not valued:
        if not any(part.supported for part in parts):
            return None, None, NOT_SUPPORTED
        return None, None, NO_COUNTER if busy else NOT_RUN
    if len(valued) == 1:
        return valued[0][0], valued[0][1], None
    return (*combined(valued), None)


def _origin(folder: Path, counts: list[Count], facts: RunFacts, notes: list[str]) -> Origin:
    """Bound the start of perf's clock from both sides by what the agent saw; notes the error."""
    last = max((count.time for count in counts), default=0.0)
    try:
        frames = read_frames(folder / "clock.frames")
    except OSError:
        notes.append("perf_stat: no start time was captured; counter times are taken from the run's start")
        return Origin(facts.start_ns, None, None)
    seen = {name: series.times[0] for name, series in frames.series.items() if series.times}
    spawned, ready = seen.get("spawned"), seen.get("acknowledged")
    if spawned is None or max(seen.values()) > _MAX_SECONDS * 1e9:
        notes.append("perf_stat: no start time was captured; counter times are taken from the run's start")
        return Origin(facts.start_ns, None, None)
    earliest, latest = spawned, ready if ready is not None else spawned + int(0.3e9)
    if "interrupted" in seen and last:  # perf stamps its last interval after the signal and before its end
        earliest = max(earliest, seen["interrupted"] - int(last * 1e9))
    if "exited" in seen and last:
        latest = min(latest, seen["exited"] - int(last * 1e9))
    if earliest > latest:  # the signal met perf just after it had printed an interval
        earliest = spawned
    latest = max(latest, earliest)
    error = (latest - earliest) // 2
    notes.append(f"perf_stat: counter times are known to ±{error / 1e6:.1f} ms")
    return Origin(earliest + error, error, ready)
