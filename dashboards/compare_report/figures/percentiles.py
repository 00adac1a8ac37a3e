"""Distributions of many values a run, as percentiles: the tail takes as much room as the middle.

The axis is that of HdrHistogram's plots: -log10(1 - p), where 90 %, 99 % and 99.9 % are equally far apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import compact
from edgeprof.dashboards.report.text import clean, label
from edgeprof.profiler.units import count, seconds

POINTS = 160
_SHOWN = (50.0, 90.0, 99.0, 99.9)
_MARKS = (50.0, 90.0, 99.0, 99.9, 99.99)

Distributions = Sequence[tuple[str, str, str, Floats]]
"""Side, its colour, run, and the run's values, which are above 0."""


def figure(panels: Mapping[str, Distributions], axis: str) -> Any:
    """A panel for each kind; a line a run, percentiles to the right and values, in seconds, up."""
    from plotly.subplots import make_subplots

    drawn = make_subplots(
        rows=1,
        cols=len(panels),
        shared_yaxes=True,
        subplot_titles=list(panels) if len(panels) > 1 else None,
        horizontal_spacing=0.04,
    )
    named: set[str] = set()
    furthest = max(len(values) for runs in panels.values() for *_, values in runs)
    for column, runs in enumerate(panels.values(), 1):
        for side, colour, run, values in runs:
            drawn.add_trace(_line(side, colour, run, values, side not in named), row=1, col=column)
            named.add(side)
    marks = [mark for mark in _MARKS if furthest >= 1 / (1 - mark / 100)]
    drawn.update_xaxes(
        tickvals=[_place(mark / 100) for mark in marks],
        ticktext=[f"p{mark:g}" for mark in marks],
        title="percentile",
    )
    ends = [float(end) for runs in panels.values() for *_, values in runs for end in (values.min(), values.max())]
    drawn.update_yaxes(type="log", **_marks(min(ends), max(ends)))
    drawn.update_yaxes(title=axis, col=1)
    drawn.update_annotations(font={"size": 13})
    drawn.update_layout(
        height=380,
        hovermode="closest",
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        margin={"l": 70, "r": 16, "t": 34, "b": 44},
    )
    return drawn


def _marks(least: float, most: float) -> dict[str, Any]:
    """Marks of a logarithmic axis of seconds: 1, 2 and 5 of each decade where there are few decades, else 1."""
    decades = range(int(np.floor(np.log10(least))), int(np.ceil(np.log10(most))) + 1)
    digits = (1, 2, 5) if len(decades) <= 4 else (1,)
    marks = [digit * 10.0**decade for decade in decades for digit in digits]
    return {"tickvals": marks, "ticktext": [seconds(mark) for mark in marks]}


def _place(share: float) -> float:
    return float(-np.log10(1 - share))


def _line(side: str, colour: str, run: str, values: Floats, named: bool) -> Any:
    import plotly.graph_objects as go

    ordered = np.sort(values)
    # Each value stands in the middle of its share of the run's values, so the greatest of n is at 1 - 1/(2n).
    places = -np.log10(1 - (np.arange(len(ordered)) + 0.5) / len(ordered))
    keep = np.arange(len(ordered))
    if len(ordered) > POINTS:
        wanted = np.linspace(places[0], places[-1], POINTS)
        keep = np.unique(np.clip(np.searchsorted(places, wanted), 0, len(ordered) - 1))
    return go.Scatter(
        x=compact(places[keep]),
        y=compact(ordered[keep]),
        mode="lines" if len(keep) > 1 else "markers",
        name=label(side, 40),
        legendgroup=side,
        showlegend=named,
        line={"color": colour, "width": 1.6},
        opacity=0.85,
        text=[f"p{100 * (1 - 10**-place):.4g}" for place in places[keep]],
        hovertemplate="%{text}: %{y:.3s}s<br>" + label(run) + "<extra>" + label(side, 40) + "</extra>",
    )


def rows(kind: str, runs: Distributions) -> list[list[str]]:
    """A row a run: kind, side, run, number of values, percentiles, greatest."""
    return [
        [
            *([kind] if kind else []),
            clean(side),
            clean(run),
            count(len(values)),
            *(seconds(float(value)) for value in np.percentile(values, _SHOWN)),
            seconds(float(values.max())),
        ]
        for side, _, run, values in runs
    ]


def heads(kind: str, number: str) -> list[str]:
    """The columns of `rows`."""
    return [*([kind] if kind else []), "Side", "Run", number, *(f"p{p:g}" for p in _SHOWN), "Greatest"]
