"""Memory: what kinds of it a run held and when, its faults, and what the kernel took back."""

from __future__ import annotations

from typing import Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.figures import memory_rows, phase_shares
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.run_parts import choices, figure, metric_tiles, rows_over_time
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures import phase_memory
from edgeprof.dashboards.report.figures.timeline import memory, phases, power

_KEY_FIGURES = {
    "cgroup_memory_peak": "Peak memory",
    "pss_peak": "Peak memory (PSS)",
    "rss_peak": "Peak memory (RSS)",
    "minor_faults": "Minor faults",
    "major_faults": "Major faults",
    "psi_memory_some": "Waiting for memory (PSI)",
}
HELD = rows_over_time(
    "memory-time",
    "Memory held",
    (phases.row, memory.run_row, memory_rows.processes_row, memory.system_row, power.gpu_memory_row),
)
MOVED = rows_over_time(
    "memory-pressure",
    "Faults, reclaim and pressure",
    (
        memory_rows.major_faults_row,
        memory_rows.minor_faults_row,
        memory_rows.reclaim_row,
        memory_rows.refaults_row,
        memory_rows.swap_row,
        memory_rows.pressure_row,
    ),
)
PHASE_MEMORY = figure(phase_memory.KEY, phase_memory.TITLE, phase_memory.build)
BY_PHASE = (
    PHASE_MEMORY,
    figure(phase_shares.FAULTS_KEY, phase_shares.FAULTS_TITLE, phase_shares.faults),
)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    data = context.data(view.get("run"))
    return [
        *metric_tiles(data, _KEY_FIGURES),
        choices(context, view, requests=False),
        parts.section("over-time", "Over time", parts.figure(HELD), parts.figure(MOVED)),
        parts.section("by-phase", "By phase", *map(parts.figure, BY_PHASE)),
    ]


PAGE = Page("/memory", "Memory", layout, (HELD, MOVED, *BY_PHASE), of_run=True)
