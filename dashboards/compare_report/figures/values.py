"""The value of every single run in the metrics that people decide by: one small panel each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.matrix_report.data import title
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture
from edgeprof.dashboards.report.text import clean, label
from edgeprof.profiler.statistics.metrics import MATTER, Known, known
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Side, Sides

KEY, TITLE = "values", "Every run"
COLUMNS, PANEL = 4, 170
MOST = 12
_SUFFIX = {"s": "s", "bytes": "B", "J": "J", "J/sample": "J", "W": "W"}


def build(sides: Sides) -> Outcome:
    """A panel a metric, a mark a run, a bar at each side's mean."""
    metrics = _metrics(sides)
    if not metrics:
        return Absent(KEY, TITLE, "no metric that people decide by was measured", "ingest the runs again")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(metrics, sides),
        caption="One mark a run, one panel a metric, each from 0 on its own axis; the bar is the mean of a side.",
        label="Values of every run: " + ", ".join(title(about.name) for about in metrics) + ".",
        table=_table(sides),
    )


def values_of(side: Side, metric: str) -> list[tuple[str, float]]:
    """Run and value, of the runs that have one."""
    return [
        (process.id, value)
        for process in side.group.processes
        if (value := process.metrics.get(metric)) is not None and math.isfinite(value)
    ]


def _metrics(sides: Sides) -> list[Known]:
    names = dict.fromkeys(name for side in sides.sides for process in side.group.processes for name in process.metrics)
    having = [
        about
        for about in known(names).values()
        if about.name in MATTER and sum(bool(values_of(side, about.name)) for side in sides.sides) > 1
    ]
    return having[:MOST]


def _figure(metrics: Sequence[Known], sides: Sides) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    columns = min(COLUMNS, len(metrics))
    rows = -(-len(metrics) // columns)
    titles = [title(about.name) for about in metrics]
    height = rows * PANEL + 60
    figure = make_subplots(
        rows=rows, cols=columns, subplot_titles=titles, horizontal_spacing=0.075, vertical_spacing=46 / height
    )
    random = np.random.default_rng(0)
    for number, about in enumerate(metrics):
        row, column = divmod(number, columns)
        place = {"row": row + 1, "col": column + 1}
        for x, side in enumerate(sides.sides):
            found = values_of(side, about.name)
            if not found:
                continue
            y = np.array([value for _, value in found])
            spread = random.uniform(-0.22, 0.22, len(y)) if len(y) > 2 else np.linspace(-0.1, 0.1, len(y) + 2)[1:-1]
            name = label(side.name, 40)
            figure.add_trace(
                go.Scatter(
                    x=x + spread,
                    y=y,
                    mode="markers",
                    name=name,
                    legendgroup=side.name,
                    showlegend=number == 0,
                    marker={"color": side.colour, "size": 7, "opacity": 0.75, "symbol": _SYMBOLS[x]},
                    customdata=[f"{label(run)}<br>{human(value, about.unit)}" for run, value in found],
                    hovertemplate="%{customdata}<extra>" + name + "</extra>",
                ),
                **place,
            )
            mean = {"color": side.colour, "width": 2.5}
            figure.add_shape(type="line", x0=x - 0.34, x1=x + 0.34, y0=y.mean(), y1=y.mean(), line=mean, **place)
        share = about.unit == "share"
        axis = {"tickformat": ".0~%"} if share else {"tickformat": "~s", "ticksuffix": _SUFFIX.get(about.unit, "")}
        figure.update_yaxes(rangemode="tozero", nticks=4, **axis, **place)
    figure.update_annotations(font={"size": 12.5})
    figure.update_xaxes(
        tickvals=[], range=[-0.6, len(sides.sides) - 0.4], showline=True, zeroline=False, fixedrange=True
    )
    figure.update_layout(
        height=height,
        margin={"l": 56, "r": 16, "t": 56, "b": 16},
        legend={"orientation": "h", "y": 1 + 24 / height, "yanchor": "bottom", "x": 0},
        hovermode="closest",
    )
    return figure


_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")


def _table(sides: Sides) -> DataTable:
    """A row a run, a column a metric that any run has and people decide by."""
    metrics = _metrics(sides)
    rows = []
    for side in sides.sides:
        for process in side.group.processes:
            values = [human(process.metrics.get(about.name), about.unit) for about in metrics]
            rows.append([clean(process.id), clean(side.name), *values])
    return DataTable(["Run", "Side", *(title(about.name) for about in metrics)], rows)
