"""Timeline row: pressure stall information, the share of time in which work waited for a resource."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.dashboards.report.downsample import rate
from edgeprof.dashboards.report.figures.base import Absent
from edgeprof.dashboards.report.figures.series import Series, line
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.theme import BLUE, PURPLE, VERMILLION

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

_KINDS = (
    ("memory, some", "psi_memory_some_total", PURPLE, "solid"),
    ("memory, full", "psi_memory_full_total", PURPLE, "dot"),
    ("I/O, some", "psi_io_some_total", VERMILLION, "solid"),
    ("I/O, full", "psi_io_full_total", VERMILLION, "dot"),
    ("CPU, some", "psi_cpu_some_total", BLUE, "solid"),
)


def pressure(data: RunData, table: str) -> list[Series]:
    """Stalled share of time from the cumulative stall times of ``table``."""
    time = data.number(table, "time_ns")
    found = (
        Series(name, *rate(time, data.number(table, column)), "share", colour, dash)
        for name, column, colour, dash in _KINDS
        if data.known(table, column)
    )
    return [series for series in found if not series.empty()]


def row(data: RunData) -> Row | Absent:
    """Pressure of the run's control group; of the whole machine where the group has none."""
    series, whose = pressure(data, "cgroup"), "the run's control group"
    if not series:
        series, whose = pressure(data, "system"), "the whole machine"
    if not series:
        reason, remedy = data.absence("system")
        if data.has("system"):
            reason = "this kernel gives no pressure stall information"
            remedy = "use a kernel built with CONFIG_PSI, booted with psi=1"
        return Absent("timeline-pressure", "Pressure (PSI)", reason, remedy)
    return Row(
        title="Pressure (PSI)",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={"tickformat": "~%", "rangemode": "tozero"},
        caption=f"Share of time in which at least one task (some) or all tasks (full) of {whose} "
        "waited for memory, I/O or a CPU.",
        series=series,
    )
