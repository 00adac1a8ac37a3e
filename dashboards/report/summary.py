"""The top of the report in words: the verdict and the key figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.text import clean, sentences
from edgeprof.profiler.units import human

KEY_METRICS: Sequence[tuple[str, str]] = (
    ("wall_time", "Wall time"),
    ("throughput", "Throughput"),
    ("step_time_p50", "Step time, median"),
    ("step_time_p99", "Step time, p99"),
    ("data_stall", "Waiting for input"),
    ("storage_read_bytes", "Read from storage"),
    ("storage_write_bytes", "Written to storage"),
    ("page_cache_hit_ratio", "Page cache hits"),
    ("block_read_latency_p99", "Read latency, p99"),
    ("cgroup_memory_peak", "Peak memory"),
    ("major_faults", "Major faults"),
    ("psi_io_some", "Waiting for I/O (PSI)"),
    ("psi_memory_some", "Waiting for memory (PSI)"),
    ("cpu_time", "CPU time"),
    ("energy", "Energy"),
    ("energy_net", "Energy, less idle"),
    ("idle_power", "Idle power"),
    ("energy_per_sample", "Energy a sample"),
)
_STAND_INS = {"cgroup_memory_peak": ("pss_peak", "rss_peak")}
"""Shown in a metric's place when it was not measured, under their own name."""

BOUND_BY = {
    "input": "Waiting for input",
    "compute": "Bound by computing",
    "memory": "Bound by memory",
    "writeback": "Held up by writeback",
    "thermal": "Throttled by heat or power",
    "unknown": "Not clear what bounds it",
}


@dataclass(frozen=True)
class Tile:
    """A key figure; ``value`` is None where it was not measured, and ``reason`` says why."""

    name: str
    title: str
    value: str | None
    reason: str = ""


@dataclass(frozen=True)
class Verdict:
    """What the run was bound by; ``known`` is False when no analysis has been made."""

    headline: str
    confidence: str
    evidence: Sequence[str]
    advice: Sequence[str]
    known: bool = True


def verdict(data: RunData) -> Verdict:
    """The manifest's verdict as text."""
    found = data.manifest.get("verdict")
    if not isinstance(found, dict):
        advice = [f"Make the tables, metrics and verdict with `edgeprof ingest {clean(data.run.path)}`."]
        return Verdict("No verdict yet: the capture has not been analysed", "", [], advice, known=False)
    bound = str(found.get("bound_by") or "unknown")
    return Verdict(
        headline=BOUND_BY.get(bound, clean(bound)),
        confidence=clean(found.get("confidence") or ""),
        evidence=sentences(found.get("evidence")),
        advice=sentences(found.get("advice")),
        known=bound != "unknown",
    )


def tiles(data: RunData) -> list[Tile]:
    """Key figures, those that were measured first."""
    metrics = data.run.metrics
    found = []
    for name, title in KEY_METRICS:
        names = (name, *_STAND_INS.get(name, ()))
        used = next((item for item in names if metrics.get(item, {}).get("value") is not None), name)
        shown = title if used == name else f"{title} ({used.split('_')[0].upper()})"
        entry = metrics.get(used)
        if entry is None:
            continue
        if entry["value"] is None:
            found.append(Tile(used, shown, None, clean(entry.get("reason") or "no reason was recorded")))
        else:
            found.append(Tile(used, shown, human(entry["value"], entry.get("unit"))))
    if not any(tile.name == "wall_time" for tile in found) and data.wall_time > 0:
        found.insert(0, Tile("wall_time", "Wall time", human(data.wall_time, "s")))
    return sorted(found, key=lambda tile: tile.value is None)


def metric_rows(data: RunData) -> list[list[str]]:
    """All metrics of the whole run: name, value, exact value with its unit, reason."""
    rows = []
    for name, entry in data.run.metrics.items():
        value, unit = entry.get("value"), entry.get("unit") or ""
        exact = "" if value is None else f"{value:.9g} {unit}".strip()
        rows.append([clean(name), human(value, unit), clean(exact), clean(entry.get("reason") or "")])
    return rows
