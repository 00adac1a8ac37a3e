"""What a figure of the report is: a picture with its words and data, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from edgeprof.dashboards.report.data import RunData


@dataclass(frozen=True)
class DataTable:
    """The figures behind a picture, already in human units."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A figure that can be drawn.

    Attributes:
        caption: what is seen, and how it was thinned where it was.
        parts: title and words of each part of a figure that has several.
        limits: what it does not show, one sentence each.
        label: the same for a person who does not see it.
    """

    key: str
    title: str
    figure: go.Figure
    caption: str
    label: str
    limits: Sequence[str] = ()
    table: DataTable | None = None
    parts: Sequence[tuple[str, str]] = ()
    missing: Sequence[Absent] = ()


@dataclass(frozen=True)
class Absent:
    """A figure that cannot be drawn: why, and how to get it."""

    key: str
    title: str
    reason: str
    remedy: str = ""
    failed: bool = False


Outcome = Picture | Absent
Builder = Callable[["RunData"], Outcome]


@dataclass(frozen=True)
class Entry:
    """One figure of the report: its key, its title, and the function that draws it."""

    key: str
    title: str
    build: Builder


def absent(data: RunData, key: str, title: str, table: str) -> Absent:
    """The empty state of a figure made from ``table``."""
    reason, remedy = data.absence(table)
    return Absent(key, title, reason, remedy)


def compact(values: Any) -> Any:
    """Numbers as 32-bit floats, half the bytes in the page; as they are where that would move them on a screen."""
    exact = np.asarray(values, np.float64)
    near = exact[np.isfinite(exact)]
    if len(near) and np.ptp(near) < _BLURRED * np.abs(near).max():
        return exact
    return exact.astype(np.float32)


_BLURRED = 1e-3
"""Below this ratio of spread to size, a 32-bit float's last digit is wider than 1/10,000 of the spread."""


LEGEND_ABOVE = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"}
"""A legend in one line above a figure, at its right."""

SECONDS = {"tickformat": "~s", "ticksuffix": "s"}
BYTES = {"tickformat": "~s", "ticksuffix": "B"}
"""Axis formats: plotly puts the SI prefix between number and unit."""


def bars_in_parts(
    names: Sequence[str], parts: Iterable[tuple[str, Any, str]], title: str, axis: Mapping[str, str], left: int
) -> go.Figure:
    """Horizontal bars; each part has its name, a value for each bar, and a colour.

    Args:
        names: of the bars, the lowest first.
        title: of the values.
        axis: `SECONDS` or `BYTES`.
        left: pixels for the names.
    """
    import plotly.graph_objects as go

    template = "%{x:.3s}" + axis["ticksuffix"]
    figure = go.Figure(
        [
            go.Bar(orientation="h", x=compact(x), y=names, name=name, marker={"color": colour}, hovertemplate=template)
            for name, x, colour in parts
        ]
    )
    figure.update_xaxes(title=title, **axis)
    figure.update_yaxes(type="category")
    figure.update_layout(
        barmode="stack",
        height=130 + 34 * len(names),
        bargap=0.35,
        showlegend=True,
        hovermode="y unified",
        legend=LEGEND_ABOVE,
        margin={"l": left, "r": 16, "t": 30, "b": 50},
    )
    return figure


def time_axis(window: tuple[float, float]) -> dict[str, Any]:
    """An axis of seconds since start over a window: in milliseconds for very short runs, never in kiloseconds."""
    begin, end = window
    short = end < 1
    return {
        "range": [begin, max(end, begin + 1e-6) if begin else max(end, 1e-3)],
        "title": {"text": "time since start"},
        "tickformat": "~s" if short else ",~f",
        "ticksuffix": "s" if short else " s",
        "nticks": 12,
    }
