"""Step times of every run as percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeprof.dashboards.compare_report.figures import lacking, percentiles
from edgeprof.dashboards.report.figures.base import DataTable, Outcome, Picture
from edgeprof.dashboards.report.figures.requests import positive

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Sides

KEY, TITLE = "steps", "Step times"


def build(sides: Sides) -> Outcome:
    """A line a run; runs without steps have none."""
    found = []
    without = []
    for side in sides.sides:
        for run in sides.drawn[side.name]:
            values = positive(run.data.number("steps", "end_ns") - run.data.number("steps", "start_ns"))
            if len(values):
                found.append((side.name, side.colour, run.id, values))
            else:
                without.append(run)
    if not found:
        return lacking.absence(without, KEY, TITLE, "steps", "step")
    few = min(len(values) for *_, values in found)
    limits = [f"{few} steps are too few for a 99th percentile: it is close to the slowest step."] if few < 100 else []
    limits += lacking.sentences(without, "steps", "step")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=percentiles.figure({TITLE: found}, "step time"),
        caption="How long the steps of each run took: at p90, nine of ten took at most so long. Steps of several runs"
        f" are not thrown together. {sides.left_undrawn}".strip(),
        label="Step time by percentile, a line a run.",
        limits=limits,
        table=DataTable(percentiles.heads("", "Steps"), percentiles.rows("", found)),
    )
