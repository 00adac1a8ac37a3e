"""Energy: power by rail, what a sample and a phase cost, temperature, clocks and throttling."""

from __future__ import annotations

from typing import Any

from edgeprof.dashboards.app import parts
from edgeprof.dashboards.app.figures import energy, heat_rows, phase_shares
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.run_parts import choices, figure, metric_tiles, rows_over_time
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures.timeline import phases, power, processor

_KEY_FIGURES = {
    "energy": "Energy",
    "energy_net": "Energy, less idle",
    "idle_power": "Idle power",
    "energy_per_sample": "Energy a sample",
    "throttled_time": "Throttled",
    "throughput": "Throughput",
    "wall_time": "Wall time",
}
OVER_TIME = rows_over_time(
    "energy-time",
    "Power, heat and clocks",
    (
        phases.row,
        power.power_row,
        power.thermal_row,
        heat_rows.clocks_row,
        heat_rows.throttling_row,
        processor.row,
        power.gpu_row,
        heat_rows.gpu_power_row,
    ),
)
USED = (
    figure(energy.KEY, energy.TITLE, energy.build, table="power"),
    figure(phase_shares.ENERGY_KEY, phase_shares.ENERGY_TITLE, phase_shares.energy),
)


def layout(context: Context, view: View) -> Any:
    """The page for a view."""
    data = context.data(view.get("run"))
    return [
        *metric_tiles(data, _KEY_FIGURES),
        choices(context, view, requests=False),
        parts.section("over-time", "Over time", parts.figure(OVER_TIME)),
        parts.section("used", "Energy used", *map(parts.figure, USED)),
    ]


PAGE = Page("/energy", "Energy", layout, (OVER_TIME, *USED), of_run=True)
