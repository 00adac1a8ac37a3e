"""Steps over time: when each was, how long it took, and what share of it waited for input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.dashboards.app.cut import CutData
from edgeprof.dashboards.report.downsample import Floats, min_max_index
from edgeprof.dashboards.report.figures.base import (
    LEGEND_ABOVE,
    SECONDS,
    Absent,
    Outcome,
    Picture,
    absent,
    compact,
    time_axis,
)
from edgeprof.dashboards.report.figures.steps import limits_of, percentile_lines, stall_share, summary
from edgeprof.dashboards.report.theme import BLUE, GREEN, ORANGE, VERMILLION, faint
from edgeprof.profiler.units import count, human

KEY, TITLE = "steps", "Steps"
MOST_BARS = 400
_MARKS = ((50, GREEN, "dash"), (99, VERMILLION, "dot"))


@dataclass(frozen=True)
class Steps:
    """Whole steps by start: their numbers, starts, ends and lengths (s), their samples (NaN: unknown)."""

    number: Floats
    start: Floats
    end: Floats
    samples: Floats

    @property
    def length(self) -> Floats:
        return self.end - self.start


def steps_of(data: CutData) -> Steps:
    """The steps in the cut that have both a start and an end."""
    columns = [data.number("steps", name) for name in ("step", "start_ns", "end_ns", "samples")]
    _, start, end, _ = columns
    whole = np.flatnonzero(np.isfinite(start) & np.isfinite(end) & (end >= start))
    whole = whole[np.argsort(start[whole], kind="stable")]
    return Steps(*(column[whole] for column in columns))


def build(data: CutData) -> Outcome:
    """Step time over time, and the share of each step in the phase `load`."""
    if not data.has("steps"):
        return absent(data, KEY, TITLE, "steps")
    steps = steps_of(data)
    if not len(steps.start):
        return Absent(KEY, TITLE, "no step has both a start and an end")
    stall = stall_share(data, steps.start, steps.end)
    caption = (
        f"Each of {count(len(steps.start))} steps at the time it ran; the height is how long it took. "
        "Click one to look at its time alone."
    )
    if stall is not None:
        share = float(np.sum(stall * steps.length) / max(float(steps.length.sum()), 1e-12))
        caption += f" Below, the share of each that waited for input: {human(share, 'share')} overall."
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(data, steps, stall),
        caption=caption,
        label="Step duration over time"
        + (", and the share of each step that waited for input." if stall is not None else "."),
        limits=limits_of(stall, len(steps.start)),
        table=summary(steps.length, stall, steps.samples),
    )


def _figure(data: CutData, steps: Steps, stall: Floats | None) -> Any:
    from plotly.subplots import make_subplots

    rows = 1 if stall is None else 2
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.65, 0.35][:rows])
    figure.add_trace(_marks(steps, steps.length, "step", BLUE, "step %{customdata[0]}: %{y:.3s}s"), row=1, col=1)
    figure.add_traces(percentile_lines(steps.length, *data.window, _MARKS), rows=1, cols=1)
    if stall is not None:
        figure.add_trace(_marks(steps, stall, "waiting for input", ORANGE, "%{y:.0%} waiting"), row=2, col=1)
        figure.update_yaxes(title="data stall", tickformat=".0%", range=[0, 1.02], row=2, col=1)
    figure.update_yaxes(title="step time", rangemode="tozero", row=1, col=1, **SECONDS)
    figure.update_yaxes(fixedrange=True)
    figure.update_xaxes(**time_axis(data.window))
    figure.for_each_xaxis(lambda axis: axis.update(title=None) if axis.showticklabels is False else None)
    figure.update_layout(
        height=300 if rows == 1 else 400,
        hovermode="closest",
        bargap=0,
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 50},
    )
    return figure


def _marks(steps: Steps, values: Floats, name: str, colour: str, hover: str) -> Any:
    """Bars as wide as the steps where they are few, else the lowest and highest of each slice of time."""
    import plotly.graph_objects as go

    few = len(values) <= MOST_BARS
    keep = np.arange(len(values)) if few else min_max_index(steps.start, values)
    drill = np.stack([steps.number[keep], steps.start[keep], steps.end[keep]], axis=1).tolist()  # read by run.js
    common: dict[str, Any] = {
        "x": compact(((steps.start + steps.end) / 2)[keep]),
        "y": compact(values[keep]),
        "name": name,
        "customdata": drill,
        "hovertemplate": hover + "<extra></extra>",
    }
    if few:
        outline = {"color": colour, "width": 1}
        return go.Bar(
            width=compact(steps.length[keep]), marker={"color": faint(colour, 0.55), "line": outline}, **common
        )
    return go.Scatter(mode="lines+markers", line={"color": colour, "width": 1}, marker={"size": 4}, **common)
