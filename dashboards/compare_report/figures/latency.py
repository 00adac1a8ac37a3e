"""Latency of the block requests of every run as percentiles, reads and writes apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.dashboards.compare_report.figures import lacking, percentiles
from edgeprof.dashboards.report.figures import requests
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Sides
    from edgeprof.dashboards.report.downsample import Floats

KEY, TITLE = "latency", "Request latency"


def build(sides: Sides) -> Outcome:
    """A panel each for reads and writes."""
    runs = [(side, run) for side in sides.sides for run in sides.drawn[side.name]]
    seen = [(side, run) for side, run in runs if run.data.has("block_io")]
    unseen = [run for _, run in runs if not run.data.has("block_io")]
    if not seen:
        return lacking.absence(unseen, KEY, TITLE, "block_io", "request")
    panels: dict[str, list[tuple[str, str, str, Floats]]] = {}
    limits: list[str] = []
    for operation in ("read", "write"):
        for side, run in seen:
            chosen = requests.of_run(run.data, operation)
            values = requests.positive(requests.latency(run.data)[chosen.mask])
            if len(values):
                panels.setdefault(f"{operation.capitalize()}s", []).append((side.name, side.colour, run.id, values))
                limits += chosen.limits
    if not panels:
        if sides.window is not None:
            return Absent(KEY, TITLE, "no read or write of these runs lies in the time shown", "show the whole time")
        return Absent(KEY, TITLE, "no read or write of these runs reached a block device", "start with a cold cache")
    outside = sum(run.outside("block_io") for run in unseen)
    if outside:
        limits.append(f"No request of {outside} of the {len(runs)} runs lies in the time shown.")
    if outside < len(unseen):
        limits.append(f"Requests of {len(unseen) - outside} of the {len(runs)} runs were not captured.")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=percentiles.figure(panels, "latency"),
        caption="From being queued to completion: at p99, 99 of 100 requests took at most so long."
        f" {sides.left_undrawn}".strip(),
        label="Request latency by percentile, a line a run: " + " and ".join(panels) + ".",
        limits=list(dict.fromkeys(limits)),
        table=DataTable(
            percentiles.heads("Operation", "Requests"),
            [row for kind, found in panels.items() for row in percentiles.rows(kind, found)],
        ),
    )
