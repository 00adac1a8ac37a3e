"""Steps: how long each iteration took and what share of it waited for input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats, min_max
from edgeprof.dashboards.report.figures.base import (
    LEGEND_ABOVE,
    SECONDS,
    Absent,
    DataTable,
    Outcome,
    Picture,
    absent,
    compact,
)
from edgeprof.dashboards.report.figures.phasing import main_phases
from edgeprof.dashboards.report.theme import BLUE, GREEN, ORANGE, VERMILLION, faint
from edgeprof.profiler.units import count, human, seconds

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "steps", "Steps"
LOAD = "load"
"""The phase that waits for input; `--auto` records the DataLoader's wait under this name."""

_MARKS = ((50, GREEN, "dash"), (90, ORANGE, "dashdot"), (99, VERMILLION, "dot"))


def build(data: RunData) -> Outcome:
    """Step time over step number, and the share of each step in the phase `load`."""
    if not data.has("steps"):
        return absent(data, KEY, TITLE, "steps")
    start, end = data.number("steps", "start_ns"), data.number("steps", "end_ns")
    whole = np.flatnonzero(np.isfinite(start) & np.isfinite(end) & (end >= start))
    if not len(whole):
        return Absent(KEY, TITLE, "no step has both a start and an end")
    whole = whole[np.argsort(start[whole], kind="stable")]
    start, end = start[whole], end[whole]
    number = np.arange(len(whole), dtype=np.float64)
    stall = stall_share(data, start, end)
    length = end - start
    caption = f"Duration of each of {count(len(length))} steps, with the time that 50, 90 and 99 % of them stay under."
    if stall is not None:
        share = float(np.sum(stall * length) / max(float(length.sum()), 1e-12))
        caption += f" Below it the share of each step spent in the phase “{LOAD}”, waiting for input: "
        caption += f"{human(share, 'share')} overall."
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(number, length, stall),
        caption=caption,
        label="Step duration over step number"
        + (", and the share of each step that waited for input." if stall is not None else "."),
        limits=limits_of(stall, len(length)),
        table=summary(length, stall, data.number("steps", "samples")[whole]),
    )


def limits_of(stall: Floats | None, steps: int) -> list[str]:
    """What a figure of steps does not tell, and why."""
    limits = []
    if stall is None:
        limits.append(f"Data stall is not shown: no phase named “{LOAD}” was recorded.")
    if steps < 100:
        limits.append(f"{steps} steps are too few for a 99th percentile: it is close to the slowest step.")
    return limits


def stall_share(data: RunData, start: Floats, end: Floats) -> Floats | None:
    """The share of each stretch of time that the main thread waited for input; None where no such phase is marked."""
    phases = main_phases(data)
    if phases is None or LOAD not in phases.time_by_name():
        return None
    waited = phases.covered_by(LOAD, end) - phases.covered_by(LOAD, start)
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Floats = np.clip(np.where(end > start, waited / (end - start), 0.0), 0.0, 1.0)
    return share


def _figure(number: Floats, length: Floats, stall: Floats | None) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    rows = 1 if stall is None else 2
    figure = make_subplots(rows=rows, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.65, 0.35][:rows])
    x, y = min_max(number, length)
    mode = "lines" if len(number) > 200 else "lines+markers"
    line = {"color": BLUE, "width": 1.2}
    figure.add_trace(
        go.Scatter(
            x=compact(x), y=compact(y), name="step", mode=mode, line=line, marker={"size": 4}, hovertemplate="%{y:.3s}s"
        ),
        row=1,
        col=1,
    )
    figure.add_traces(percentile_lines(length, 0, float(number[-1]), _MARKS), rows=1, cols=1)
    if stall is not None:
        _add_stall(figure, number, stall)
    figure.update_yaxes(title="step time", rangemode="tozero", row=1, col=1, **SECONDS)
    figure.update_xaxes(title="step", row=rows, col=1)
    figure.update_layout(
        height=300 if rows == 1 else 400,
        hovermode="x unified",
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 50},
    )
    return figure


def percentile_lines(
    length: Floats, begin: float, end: float, marks: Sequence[tuple[int, str, str]]
) -> list[go.Scatter]:
    """A level line from ``begin`` to ``end`` for each percentile, colour and dash of ``marks``; ``length`` in s."""
    import plotly.graph_objects as go

    values = [float(np.percentile(length, percent)) for percent, _, _ in marks]
    return [
        go.Scatter(
            x=[begin, end],
            y=[value, value],
            name=f"p{percent} {seconds(value)}",
            mode="lines",
            line={"color": colour, "width": 1.6, "dash": dash},
            hoverinfo="skip",
        )
        for value, (percent, colour, dash) in zip(values, marks, strict=True)
    ]


def _add_stall(figure: Any, number: Floats, stall: Floats) -> None:
    import plotly.graph_objects as go

    x, y = min_max(number, stall)
    figure.add_trace(
        go.Scatter(
            x=compact(x),
            y=compact(y),
            name="waiting for input",
            mode="lines",
            line={"color": ORANGE, "width": 1},
            fill="tozeroy",
            fillcolor=faint(ORANGE, 0.35),
            hovertemplate="%{y:.0%}",
        ),
        row=2,
        col=1,
    )
    figure.update_yaxes(title="data stall", tickformat=".0%", range=[0, 1.02], row=2, col=1)


def summary(length: Floats, stall: Floats | None, samples: Floats) -> DataTable:
    """Percentiles of step time (s) and data stall."""
    marks = np.percentile(length, (50, 90, 99))
    rows = [
        ["steps", count(len(length))],
        *([f"p{p}", seconds(float(v))] for p, v in zip((50, 90, 99), marks, strict=False)),
        ["slowest", f"{seconds(float(length.max()))} (step {int(np.argmax(length))})"],
        ["p99 / p50", human(float(marks[2] / marks[0]) if marks[0] > 0 else None, "count")],
    ]
    if np.isfinite(samples).any():
        rows.append(["samples", count(float(np.nansum(samples)))])
    if stall is not None:
        rows += [
            [f"data stall, p{p}", human(float(v), "share")]
            for p, v in zip((50, 99), np.percentile(stall, (50, 99)), strict=False)
        ]
    return DataTable(("Measure", "Value"), rows)
