"""The last two minutes of a run in progress, in rows above each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.figures.base import BYTES, SECONDS
from edgeprof.dashboards.report.figures.series import Series, line
from edgeprof.dashboards.report.figures.timeline import rows_figure
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.theme import BLUE, INK, PURPLE, READ, VERMILLION, WRITE
from edgeprof.profiler.live.measures import MEASURES, History

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = 120.0
"""Seconds that the figure shows."""
_RATE = {"tickformat": "~s", "ticksuffix": "B/s"}
_SHARE = {"tickformat": "~%"}
_UNITS = {item.name: item.unit for item in MEASURES}


@dataclass(frozen=True)
class _Lines:
    title: str
    lines: Sequence[tuple[str, str, str]]
    axis: Mapping[str, Any]


_ROWS = (
    _Lines("CPU (of one processor)", [("cpu", "CPU", INK)], _SHARE),
    _Lines("Memory of the run", [("memory", "memory", BLUE)], BYTES),
    _Lines("Storage", [("read", "read", READ), ("write", "written", WRITE)], _RATE),
    _Lines("Pressure (PSI, some)", [("io_pressure", "I/O", VERMILLION), ("memory_pressure", "memory", PURPLE)], _SHARE),
    _Lines("Time of a step", [("step_time", "step", BLUE)], SECONDS),
    _Lines("Power", [("power", "power", INK)], {"ticksuffix": " W"}),
)
"""Title, measures with their names and colours, and axis of each row."""


def build(histories: Mapping[str, History], now: float) -> go.Figure:
    """The rows of what there are values of; ``now``: seconds from the run's start to its newest sample."""
    rows = [row for item in _ROWS if (row := _row(item, histories)) is not None]
    figure = rows_figure(rows, (max(0.0, now - SHOWN), max(now, 10.0)))
    figure.update_layout(dragmode=False)
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    return figure


def _row(item: _Lines, histories: Mapping[str, History]) -> Row | None:
    series = [
        Series(title, np.array(histories[name].times), np.array(histories[name].values), _UNITS[name], colour)
        for name, title, colour in item.lines
        if name in histories
    ]
    if not series:
        return None
    return Row(
        title=item.title,
        draw=lambda axis, legend: [line(part, axis, legend) for part in series],
        axis={"rangemode": "tozero", "nticks": 4, **item.axis},
        caption="",
        weight=0.6,
    )
