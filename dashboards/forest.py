"""A forest plot: differences with their intervals, one row each, words beside them, around a line of no change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.report.text import label
from edgeprof.dashboards.report.theme import GREY, INK

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROW = 30
_WIDEST = math.log(1000)
"""Of ratios, what lies beyond is cut off at the edge; the words beside it have the number."""
_SPREAD = 3.0
"""An interval of ratios that is wider, of very few runs, may run out of the picture."""

RATIOS = (
    *(1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 1 / 3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 1.0),
    *(1.005, 1.01, 1.02, 1.05, 1.1, 1.2, 1.3, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1e3),
)
"""Marks of an axis of ratios, of which those are kept that have room."""


@dataclass(frozen=True)
class Mark:
    """One row.

    Attributes:
        name: of the row, as plotly takes it; empty where it goes on with the row above.
        value, low, high: logarithms of ratios, or differences in one unit; a row without a value is a heading.
        series: what the legend calls it.
        sure: a hollow mark is not.
        note: words to the right.
        hover: more words.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    series: str = ""
    colour: str = INK
    symbol: str = "circle"
    sure: bool = True
    note: str = ""
    hover: str = ""


def forest(marks: Sequence[Mark], title: str, axis: Mapping[str, Any] | None = None, room: int = 250) -> go.Figure:
    """Draw the rows from the top.

    Args:
        title: of the axis, as plotly takes it.
        axis: settings of an axis of differences; without it the values are logarithms of ratios.
        room: pixels for the words to the right.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    places = list(enumerate(marks))
    named: set[tuple[str, bool]] = set()
    for key in dict.fromkeys(_key(mark) for mark in marks if mark.value is not None):
        trace = _trace([(y, mark) for y, mark in places if mark.value is not None and _key(mark) == key])
        figure.add_trace(trace.update(legendgroup=f"{key[:2]}", showlegend=key[:2] not in named))
        named.add(key[:2])
    low, high = _range(marks, ratios=axis is None)
    figure.update_layout(
        height=len(marks) * ROW + 110,
        margin={"l": 20, "r": room, "t": 36, "b": 56},
        showlegend=True,
        legend={"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "xanchor": "left"},
        hovermode="closest",
        xaxis={
            "range": [low, high],
            "zeroline": False,
            **(_ratios(low, high) if axis is None else axis),
            "title": {"text": title},
        },
        yaxis={
            "range": [len(marks) - 0.4, -0.6],
            "tickvals": [y for y, mark in places if mark.name],
            "ticktext": [mark.name for mark in marks if mark.name],
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        shapes=[_upright()],
        annotations=[_note(y, mark) for y, mark in places if mark.note],
    )
    return figure


def _key(mark: Mark) -> tuple[str, bool, bool]:
    """What marks of one trace have in common."""
    return mark.series, mark.sure, mark.low is not None and mark.high is not None


def _trace(rows: Sequence[tuple[int, Mark]]) -> go.Scatter:
    import plotly.graph_objects as go

    marks = [mark for _, mark in rows]
    first = marks[0]
    values = [_inside(mark.value) for mark in marks]
    return go.Scatter(
        x=values,
        y=[y for y, _ in rows],
        mode="markers",
        name=first.series,
        marker={
            "color": first.colour,
            "size": 11,
            "symbol": first.symbol if first.sure else f"{first.symbol}-open",
            "line": {"width": 0 if first.sure else 2, "color": first.colour},
        },
        error_x=_intervals(marks) if first.low is not None and first.high is not None else None,
        customdata=[mark.hover for mark in marks],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _intervals(marks: Sequence[Mark]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [_inside(mark.high) - _inside(mark.value) for mark in marks],
        "arrayminus": [_inside(mark.value) - _inside(mark.low) for mark in marks],
        "color": marks[0].colour,
        "thickness": 2,
        "width": 5,
    }


def _inside(value: float | None) -> float:
    assert value is not None
    return value if math.isfinite(value) else math.copysign(_WIDEST, value)


def _range(marks: Sequence[Mark], ratios: bool) -> tuple[float, float]:
    shown = [mark for mark in marks if mark.value is not None]
    ends = [_inside(mark.value) for mark in shown]
    for mark in shown:
        if mark.low is not None and mark.high is not None and (not ratios or mark.high - mark.low < _SPREAD):
            ends += [_inside(mark.low), _inside(mark.high)]
    low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
    if ratios:
        low, high = max(low, -_WIDEST), min(high, _WIDEST)
    least = 0.02 if ratios else 1e-9
    room = max(0.06 * (high - low), least)
    return low - room, high + room


def _ratios(low: float, high: float) -> dict[str, Any]:
    """Marks at ratios that have room between them, those nearest to no change first."""
    kept: list[float] = []
    for ratio in sorted(RATIOS, key=lambda ratio: abs(math.log(ratio))):
        at = math.log(ratio)
        if low <= at <= high and all(abs(at - other) > 0.1 * (high - low) for other in kept):
            kept.append(at)
    return {"tickvals": kept, "ticktext": [_mark(at) for at in kept], "tickangle": 0}


def _mark(at: float) -> str:
    ratio = math.exp(at)
    if abs(at) < 1e-9:
        return "the same"
    if ratio > 1.995 or ratio < 0.505:
        return f"{ratio:.2g}x" if ratio < 100 else f"{ratio:.0f}x"
    return f"{'+' if at > 0 else '-'}{abs(ratio - 1) * 100:.2g} %"


def _upright() -> dict[str, Any]:
    line = {"color": GREY, "width": 1.5}
    return {"type": "line", "x0": 0, "x1": 0, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def _note(y: int, mark: Mark) -> dict[str, Any]:
    return {
        "text": label(mark.note, 44),
        "x": 1,
        "xref": "paper",
        "xanchor": "left",
        "xshift": 12,
        "y": y,
        "yref": "y",
        "yanchor": "middle",
        "showarrow": False,
        "font": {"size": 12, "color": INK if mark.sure else GREY},
    }
