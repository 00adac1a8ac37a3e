"""Request latency over time: each request where they are few, percentiles of slices of time where they are many."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from edgeprof.dashboards.app.cut import CutData, event_time
from edgeprof.dashboards.report.downsample import Floats, Ints
from edgeprof.dashboards.report.figures.base import (
    LEGEND_ABOVE,
    Absent,
    DataTable,
    Outcome,
    Picture,
    absent,
    compact,
    time_axis,
)
from edgeprof.dashboards.report.figures.requests import latency, of_run
from edgeprof.dashboards.report.theme import OPERATIONS
from edgeprof.profiler.units import count, human, seconds

KEY, TITLE = "latency-time", "Request latency over time"
MOST_POINTS = 3000
SLICES = 200
SLOWEST = 200
_LINES = ((50, "p50", "solid", 1.6), (99, "p99", "dot", 1.2))


@dataclass(frozen=True)
class _Part:
    """Requests of one operation by time: seconds since start, latency in seconds, bytes."""

    operation: str
    time: Floats
    latency: Floats
    bytes: Floats


def build(data: CutData) -> Outcome:
    """Points, or lines of percentiles with the slowest requests as points."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    time, took, size = event_time(data, "block_io"), latency(data), data.number("block_io", "bytes")
    parts: list[_Part] = []
    limits: list[str] = []
    for operation in ("read", "write"):
        chosen = of_run(data, operation)
        rows = np.flatnonzero(chosen.mask & np.isfinite(time) & (took > 0))
        if len(rows):
            rows = rows[np.argsort(time[rows], kind="stable")]
            parts.append(_Part(operation, time[rows], took[rows], size[rows]))
            limits += chosen.limits
    if not parts:
        return Absent(
            KEY, TITLE, "no read or write of the run was completed", "start with a cold page cache to see reads"
        )
    caption = "Time from being queued to completion, at the time each request was queued; the axis is logarithmic."
    if any(len(part.time) > MOST_POINTS for part in parts):
        caption += (
            f" Where there are more than {MOST_POINTS:,} requests, lines are the 50th and 99th percentile of each of "
            f"{SLICES} slices of the time shown, and points are the {SLOWEST} slowest requests. Zoom in to see each."
        )
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(data, parts),
        caption=caption,
        label="Latency over time of "
        + " and ".join(f"{count(len(part.time))} {part.operation}s" for part in parts)
        + ".",
        limits=list(dict.fromkeys(limits)),
        table=_table(parts),
    )


def _figure(data: CutData, parts: list[_Part]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for part in parts:
        if len(part.time) <= MOST_POINTS:
            figure.add_trace(_points(part, np.arange(len(part.time)), f"{part.operation}s"))
            continue
        at, marks = slice_percentiles(part.time, part.latency, data.window)
        for (_, name, dash, width), values in zip(_LINES, marks, strict=True):
            figure.add_trace(
                go.Scatter(
                    x=compact(at),
                    y=compact(values),
                    name=f"{part.operation}s, {name}",
                    mode="lines+markers",  # a slice between empty ones is a point
                    line={"color": OPERATIONS[part.operation], "dash": dash, "width": width},
                    marker={"size": 3},
                    hovertemplate="%{y:.3s}s",
                )
            )
        slowest = np.argpartition(part.latency, -SLOWEST)[-SLOWEST:]
        figure.add_trace(_points(part, np.sort(slowest), f"slowest {part.operation}s"))
    figure.update_yaxes(type="log", dtick=1, tickformat="~s", ticksuffix="s", title="latency", hoverformat=".3s")
    figure.update_xaxes(**time_axis(data.window))
    figure.update_layout(
        height=360,
        hovermode="closest",
        showlegend=True,
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 50},
    )
    return figure


def _points(part: _Part, rows: Ints, name: str) -> Any:
    import plotly.graph_objects as go

    return go.Scatter(
        x=compact(part.time[rows]),
        y=compact(part.latency[rows]),
        customdata=[human(float(size), "bytes") for size in part.bytes[rows]],
        mode="markers",
        name=name,
        marker={
            "color": OPERATIONS[part.operation],
            "size": 4,
            "opacity": 0.7,
            "symbol": "circle" if part.operation == "read" else "diamond",
        },
        hovertemplate="%{y:.3s}s for %{customdata}, at %{x:.6~f} s",
    )


def slice_percentiles(time: Floats, values: Floats, window: tuple[float, float]) -> tuple[Floats, list[Floats]]:
    """Percentiles of the values in each slice of a window: middles of the slices, and one series a percentile.

    Args:
        time: ascending.
    """
    edges = np.linspace(*window, SLICES + 1)
    bounds = np.searchsorted(time, edges)
    bounds[-1] = len(time)
    found = np.full((len(_LINES), SLICES), np.nan)
    for i, (first, last) in enumerate(pairwise(bounds)):
        if last > first:
            found[:, i] = np.percentile(values[first:last], [line[0] for line in _LINES])
    return (edges[:-1] + edges[1:]) / 2, list(found)


def _table(parts: list[_Part]) -> DataTable:
    rows = []
    for part in parts:
        marks = np.percentile(part.latency, (50, 90, 99, 99.9))
        worst = int(np.argmax(part.latency))
        rows.append(
            [
                f"{part.operation}s",
                count(len(part.time)),
                *(seconds(float(mark)) for mark in marks),
                seconds(float(part.latency[worst])),
                f"{part.time[worst]:.6f} s",
            ]
        )
    return DataTable(("Requests", "Number", "p50", "p90", "p99", "p99.9", "Slowest", "which was queued at"), rows)
