"""Timeline rows: the run's memory by kind, and the machine's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.figures.base import BYTES, Absent, absent
from edgeprof.dashboards.report.figures.series import Series, line, stack, sum_by_time
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.theme import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, VERMILLION

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

_KINDS = (
    ("anonymous", BLUE, ("stat_anon", "stat_total_rss", "stat_rss")),
    ("file (page cache)", GREEN, ("stat_file", "stat_total_cache", "stat_cache")),
    ("kernel", PURPLE, ("stat_kernel", "stat_slab", "memory_kmem", "kmem_usage")),
)
"""Kind, colour, and its column under cgroup v2 and v1 (the v1 sum over child groups first)."""

_CGROUP_LIMIT = "A page of a file counts for the control group that touched it first, even when others share it."
_RSS_LIMIT = "Resident sets count a page shared by several processes once for each of them."


def cgroup_kinds(data: RunData) -> list[Series]:
    """The run's memory by kind as its control group counts it; empty without one."""
    time = data.number("cgroup", "time_ns")
    parts = []
    for name, colour, columns in _KINDS:
        column = next((item for item in columns if data.known("cgroup", item)), None)
        if column is not None:
            parts.append(Series(name, time, data.number("cgroup", column), "bytes", colour))
    return parts


def process_kinds(data: RunData) -> list[Series]:
    """Memory summed over the run's processes: proportional sets by kind where they were read, else resident sets."""
    time = data.number("process", "time_ns")

    def total(name: str, column: str, colour: str) -> Series:
        values = data.number("process", column)
        known = np.isfinite(values)
        return Series(name, *sum_by_time(time[known], values[known]), "bytes", colour)

    if data.known("process", "pss_anon") and data.known("process", "pss_file"):
        return [total("anonymous (PSS)", "pss_anon", BLUE), total("file (PSS)", "pss_file", GREEN)]
    if data.known("process", "rss"):
        return [total("resident set size", "rss", BLUE)]
    return []


def run_row(data: RunData) -> Row | Absent:
    """Memory of the run: by its control group, else by its processes."""
    parts, limits, source = cgroup_kinds(data), [_CGROUP_LIMIT], "its control group"
    if not parts:
        parts, limits, source = process_kinds(data), [_RSS_LIMIT], "the sum over its processes"
    if not parts:
        table = "cgroup" if data.has("process") else "process"
        return absent(data, "timeline-memory", "Memory of the run", table)
    lines = _totals(data, parts)

    def draw(axis: str, legend: str) -> list[Any]:
        return [*stack(parts, axis, legend), *(line(item, axis, legend) for item in lines)]

    return Row(
        title="Memory of the run",
        draw=draw,
        axis={**BYTES, "rangemode": "tozero"},
        caption=f"Memory by kind, from {source}.",
        limits=limits,
        series=[*parts, *lines],
        weight=1.3,
    )


def _totals(data: RunData, parts: list[Series]) -> list[Series]:
    """The limit, where there is one that the run came near to (else it would flatten the picture)."""
    time = data.number("cgroup", "time_ns")
    limit = Series("limit", time, data.number("cgroup", "memory_limit"), "bytes", VERMILLION, "dash")
    if limit.empty():
        return []
    peak = max(float(np.nanmax(part.values)) for part in parts)
    return [limit] if np.nanmin(limit.values) < 5 * peak else []


def system_row(data: RunData) -> Row | Absent:
    """The machine's memory from /proc/meminfo: in use, page cache, waiting to be written, swapped out."""
    time = data.number("system", "time_ns")

    def read(name: str) -> Any:
        return data.number("system", f"meminfo_{name}")

    parts = [
        Series("in use", time, read("MemTotal") - read("MemAvailable"), "bytes", INK),
        Series("page cache", time, read("Cached"), "bytes", GREEN),
        Series("dirty and writeback", time, read("Dirty") + read("Writeback"), "bytes", ORANGE),
        Series("swapped out", time, read("SwapTotal") - read("SwapFree"), "bytes", GREY, "dot"),
    ]
    parts = [part for part in parts if not part.empty()]
    parts = [part for part in parts if part.name != "swapped out" or np.nanmax(part.values) > 0]
    if not parts:
        return absent(data, "timeline-system-memory", "Memory of the machine", "system")
    return Row(
        title="Memory of the machine",
        draw=lambda axis, legend: [line(part, axis, legend) for part in parts],
        axis={**BYTES, "rangemode": "tozero"},
        caption="The whole machine from /proc/meminfo; in use is what could not be given to a new program at once.",
        series=parts,
    )
