"""What the runs of each side did over time: rows above each other on one axis, a line a run or a band a side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture, compact
from edgeprof.dashboards.report.figures.series import SUMMARY_COLUMNS, Series, hover, line
from edgeprof.dashboards.report.figures.timeline import memory, power, pressure, processor, rows_figure, traffic
from edgeprof.dashboards.report.figures.timeline.row import Row, RowBuilder
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import faint

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Drawn, Side, Sides

KEY, TITLE = "timeline", "Over time"
MOST_LINES = 3
"""Runs of a side that are drawn one by one; of more, their median and the band from the least to the greatest."""
GRID = 400
"""Moments at which a band is drawn."""


def _named(name: str) -> Callable[[Sequence[Series]], Series | None]:
    return lambda series: next((item for item in series if item.name == name), None)


def _sum(series: Sequence[Series]) -> Series | None:
    """Kinds of memory on top of each other; all are of the same moments."""
    kinds = [item for item in series if item.dash == "solid"]  # a dashed one is the limit
    values = np.array([item.values for item in kinds])
    known = np.isfinite(values).any(axis=0)
    return replace(kinds[0], values=np.where(known, np.nansum(values, axis=0), np.nan))


def _first(series: Sequence[Series]) -> Series | None:
    """Of rails, zones and accelerators the one with the greatest mean: a rail that feeds others, where there is one."""
    return series[0]


@dataclass(frozen=True)
class _Measure:
    """A row: which row of a run's timeline it is made from, and how that becomes one line."""

    title: str
    row: RowBuilder
    one: Callable[[Sequence[Series]], Series | None]


_MEASURES = (
    _Measure("Memory of the run", memory.run_row, _sum),
    _Measure("Storage reads of the run", traffic.read_row, _named("this run")),
    _Measure("Storage writes of the run", traffic.write_row, _named("this run")),
    _Measure("Waiting for I/O (PSI, some)", pressure.row, _named("I/O, some")),
    _Measure("Waiting for memory (PSI, some)", pressure.row, _named("memory, some")),
    _Measure("CPU of the run", processor.row, _named("this run")),
    _Measure("GPU use", power.gpu_row, _first),
    _Measure("GPU memory", power.gpu_memory_row, _first),
    _Measure("Power, greatest rail", power.power_row, _first),
    _Measure("Temperature, hottest zone", power.thermal_row, _first),
)


@dataclass(frozen=True)
class _Line:
    """One run's line of one measure, its time from what both sides are aligned at."""

    run: str
    series: Series


_Made = dict[tuple[RowBuilder, Path], "Row | Absent | None"]
"""Rows by what makes them and the run's path: two measures may be of the same row, and two runs have the same id."""


def build(sides: Sides) -> Outcome:
    """All rows that any run has data for."""
    rows: list[Row] = []
    missing: list[Absent] = []
    table: list[list[str]] = []
    made: _Made = {}
    for measure in _MEASURES:
        outcome = _row(measure, sides, made, first=not rows)
        if isinstance(outcome, Absent):
            missing.append(outcome)
        elif outcome is not None:
            row, lines = outcome
            rows.append(row)
            table += [
                [f"{row.title}: {clean(side)}", clean(item.run), *item.series.summary()[1:]] for side, item in lines
            ]
    if not rows:
        reasons = "; ".join(dict.fromkeys(item.reason for item in missing))
        return Absent(KEY, TITLE, reasons, "; ".join(dict.fromkeys(item.remedy for item in missing if item.remedy)))
    figure = rows_figure(rows, sides.span)
    figure.update_xaxes(title={"text": f"time since {'start' if sides.align == 'start' else 'first step'}"})
    return Picture(
        key=KEY,
        title=TITLE,
        figure=figure,
        caption=_caption(sides),
        label="Rows above each other over time: " + ", ".join(row.title for row in rows) + ".",
        limits=_limits(sides),
        table=DataTable(("Measure", "Run", *SUMMARY_COLUMNS[1:]), table, "Every sample is in the runs' tables."),
        missing=missing,
    )


def _caption(sides: Sides) -> str:
    from edgeprof.dashboards.compare_report.sides import ALIGN

    bands = any(len(runs) > MOST_LINES for runs in sides.drawn.values())
    told = f"Time 0 is {ALIGN[sides.align]}. Drag over any row to look closer, double-click to see all again."
    if bands:
        told += " A line is the median of a side's runs, its band goes from the least run to the greatest."
    return f"{told} {sides.left_undrawn}".strip()


def _limits(sides: Sides) -> list[str]:
    if sides.align == "start":
        return []
    without = [run.id for runs in sides.drawn.values() for run in runs if not run.whole.has("steps")]
    return [f"No step was recorded of {clean(', '.join(without))}: time 0 is the start there."] if without else []


def _row(
    measure: _Measure, sides: Sides, made: _Made, first: bool
) -> tuple[Row, list[tuple[str, _Line]]] | Absent | None:
    found: list[tuple[Side, list[_Line]]] = []
    found_row: Row | None = None
    why: Absent | None = None
    for side in sides.sides:
        lines = []
        for run in sides.drawn[side.name]:
            key = measure.row, run.data.run.path
            if key not in made:
                made[key] = measure.row(run.data)
            outcome = made[key]
            if isinstance(outcome, Absent):
                why = why or Absent(outcome.key, measure.title, outcome.reason, outcome.remedy)
            elif outcome is not None:
                found_row = found_row or outcome
                series = measure.one(outcome.series)
                if series is not None and not series.empty():
                    lines.append(_aligned(run, series))
        found.append((side, lines))
    if found_row is None or not any(lines for _, lines in found):
        return why

    def draw(axis: str, legend: str) -> list[Any]:
        return [trace for side, lines in found for trace in _traces(side, lines, axis, legend, first)]

    row = Row(
        title=measure.title,
        draw=draw,
        axis={**found_row.axis, "rangemode": "tozero"},
        caption=found_row.caption,
        limits=found_row.limits,
    )
    return row, [(side.name, item) for side, lines in found for item in lines]


def _aligned(run: Drawn, series: Series) -> _Line:
    known = np.isfinite(series.time) & np.isfinite(series.values)
    return _Line(run.id, replace(series, time=series.time[known] - run.offset, values=series.values[known]))


def _traces(side: Side, lines: Sequence[_Line], axis: str, legend: str, first: bool) -> list[Any]:
    shown: list[Any] = []
    if not lines:
        return shown
    if len(lines) <= MOST_LINES:
        for number, item in enumerate(lines):
            trace = line(replace(item.series, colour=side.colour, dash=_DASHES[number]), axis, legend)
            shown.append(trace.update(name=label(side.name), text=label(item.run)))
    else:
        shown += _band(side, lines, axis, legend)
    for number, trace in enumerate(shown):
        trace.update(legendgroup=side.name, showlegend=first and number == 0)
    return shown


_DASHES = ("solid", "dash", "dot")


def _band(side: Side, lines: Sequence[_Line], axis: str, legend: str) -> list[Any]:
    """The median, then the least and the greatest as an area; where only some runs still go on, of those."""
    import plotly.graph_objects as go

    grid, values = _on_a_grid(lines)
    least, middle, most = np.nanmin(values, axis=0), np.nanmedian(values, axis=0), np.nanmax(values, axis=0)
    common = {"mode": "lines", "yaxis": axis, "legend": legend}
    return [
        go.Scatter(
            x=compact(grid),
            y=compact(middle),
            name=label(side.name),
            line={"color": side.colour, "width": 1.8},
            hovertemplate=hover(lines[0].series.unit),
            **common,
        ),
        go.Scatter(
            x=compact(np.r_[grid, grid[::-1]]),
            y=compact(np.r_[most, least[::-1]]),
            fill="toself",
            fillcolor=faint(side.colour, 0.18),
            line={"width": 0},
            hoverinfo="skip",
            **common,
        ),
    ]


def _on_a_grid(lines: Sequence[_Line]) -> tuple[Floats, Floats]:
    """All lines at the same moments, shape (lines, moments); NaN before a run's first sample and after its last.

    Values between the moments are averaged, so that a rate keeps its sum.
    """
    low = min(float(item.series.time[0]) for item in lines)
    high = max(float(item.series.time[-1]) for item in lines)
    edges = np.linspace(low, max(high, low + 1e-9), GRID + 1)
    grid = (edges[:-1] + edges[1:]) / 2
    rows = []
    for item in lines:
        time, values = item.series.time, item.series.values
        which = np.clip(np.searchsorted(edges, time, side="right") - 1, 0, GRID - 1)
        count = np.bincount(which, minlength=GRID)
        total = np.bincount(which, values, GRID)
        seen = count > 0
        row = np.interp(grid, grid[seen], total[seen] / count[seen], left=np.nan, right=np.nan)
        rows.append(row)
    values = np.array(rows)
    some = np.isfinite(values).any(axis=0)
    return grid[some], values[:, some]
