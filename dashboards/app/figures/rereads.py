"""What the run read for the first time and what it read again: how much of its data the page cache could not keep."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.app.cut import CutData, event_time
from edgeprof.dashboards.report.downsample import Floats, min_max
from edgeprof.dashboards.report.figures.base import (
    BYTES,
    LEGEND_ABOVE,
    Absent,
    DataTable,
    Outcome,
    Picture,
    absent,
    compact,
    time_axis,
)
from edgeprof.dashboards.report.figures.requests import of_run
from edgeprof.dashboards.report.theme import BLUE, INK, ORANGE, faint
from edgeprof.profiler.units import human, request_size, seconds

KEY, TITLE = "rereads", "Working set read from storage"
MOST_CELLS = 2_000_000
SLICES = 120
_SECTOR = 512


def build(data: CutData) -> Outcome:
    """Bytes read in all and of different places so far; and what was read again in each slice of time."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    time, fresh, total, cell = _history(data)
    begin, end = data.window
    shown = slice(*map(int, np.searchsorted(time, (begin, end))))
    if shown.start >= shown.stop:
        return Absent(KEY, TITLE, "no read of the run reached a block device", "start with a cold page cache")
    read = float(_each(total, shown).sum())
    again = read - float(_each(fresh, shown).sum())
    working = float(fresh[shown.stop - 1])
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(data.window, shown, time, fresh, total),
        caption="Above, bytes that the run had read from devices so far, and how many of them were of different "
        "places: the working set. The gap between the lines was read more than once. Below, what each slice of "
        f"{seconds((end - begin) / SLICES)} read for the first time in the run, and again: in the time shown, "
        f"{human(again / read, 'share')} of {human(read, 'bytes')} were of places that the page cache no longer held, "
        "or that were read past it.",
        label="Bytes read so far and bytes of different places; below, bytes read first and again over time.",
        limits=_limits(data, cell),
        table=DataTable(
            ("Measure", "Value"),
            [
                ["read in the time shown", human(read, "bytes")],
                ["of it, for the first time in the run", human(read - again, "bytes")],
                ["of it, again", human(again, "bytes")],
                ["working set until then", human(working, "bytes")],
            ],
        ),
    )


def _limits(data: CutData, cell: int) -> list[str]:
    limits = [*of_run(data.whole, "read").limits]
    if cell > 4096:
        limits.append(f"Places are told apart in units of {request_size(cell)}, since there are many.")
    collector = next((item for item in data.collectors if item.get("name") == "block"), {})
    if collector.get("mode") not in (None, "full"):
        limits.append("Requests were captured in windows of time: what was read between them counts as not read.")
    return limits


def _history(data: CutData) -> tuple[Floats, Floats, Floats, int]:
    """Each read of the whole run by time: when, bytes of different places so far, bytes so far; and the unit of places.

    The window does not matter, so it is worked out once for a run and a device.
    """
    key = (str(data.run.path), data.stamp("block_io"), "rereads", data.cut.device)
    found: tuple[Floats, Floats, Floats, int] = data.columns.get(key, lambda: _worked_out(data))
    return found


def _worked_out(data: CutData) -> tuple[Floats, Floats, Floats, int]:
    whole = data.whole
    sector, size, time = (
        whole.number("block_io", "sector"),
        whole.number("block_io", "bytes"),
        event_time(whole, "block_io"),
    )
    mine = of_run(whole, "read").mask & np.isfinite(sector) & (sector >= 0) & (size > 0) & np.isfinite(time)
    if data.cut.device:
        mine &= whole.text("block_io", "device").is_(data.cut.device)
    rows = np.flatnonzero(mine)
    rows = rows[np.argsort(time[rows], kind="stable")]
    first, last = sector[rows] * _SECTOR, sector[rows] * _SECTOR + size[rows]
    fresh, cell = first_touched(whole.text("block_io", "device").codes[rows], first, last)
    return time[rows], np.cumsum(np.minimum(fresh, size[rows])), np.cumsum(size[rows]), cell


def _each(so_far: Floats, shown: slice) -> Floats:
    """What each read of some added to a sum."""
    before = so_far[shown.start - 1] if shown.start else 0.0
    added: Floats = np.diff(so_far[shown], prepend=before)
    return added


def first_touched(device: NDArray[np.int64], first: Floats, last: Floats) -> tuple[Floats, int]:
    """Bytes of each range, in order, that no range before it on the same device touched; and the unit of places.

    Places are cells of 4 KiB or, where that would be more than `MOST_CELLS`, of a greater power of two.
    """
    cell = 4096
    while float(np.sum((last - first) / cell + 1)) > MOST_CELLS and cell < 1 << 40:
        cell *= 2
    low = (first // cell).astype(np.int64)
    number = np.maximum(np.ceil(last / cell).astype(np.int64) - low, 1)
    owner = np.repeat(np.arange(len(low)), number)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(number) - number, number)
    place = (device[owner] << 45) + low[owner] + within
    order = np.argsort(place, kind="stable")
    repeated = np.r_[False, place[order][1:] == place[order][:-1]]
    news = np.bincount(owner[order][~repeated], minlength=len(low))
    fresh: Floats = news / number * (last - first)
    return fresh, cell


def _figure(window: tuple[float, float], shown: slice, time: Floats, fresh: Floats, total: Floats) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    begin, end = window
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.55, 0.45])
    near = slice(max(0, shown.start - 1), shown.stop + 1)
    for values, name, colour in ((total, "read so far", INK), (fresh, "of different places", BLUE)):
        x, y = min_max(time[near], values[near])
        known = np.isfinite(y)  # a sum stands still where nothing is read
        figure.add_trace(
            go.Scatter(
                x=compact(np.r_[x[known], max(end, x[known][-1])]),
                y=compact(np.r_[y[known], y[known][-1]]),
                name=name,
                mode="lines",
                line={"color": colour, "width": 1.6, "shape": "hv"},
                hovertemplate="%{y:.4s}B",
            ),
            row=1,
            col=1,
        )
    edges = np.linspace(begin, end, SLICES + 1)
    which = np.minimum(((time[shown] - begin) / (edges[1] - edges[0])).astype(np.int64), SLICES - 1)
    first = _each(fresh, shown)
    for values, name, colour in (
        (first, "for the first time", BLUE),
        (_each(total, shown) - first, "again", ORANGE),
    ):
        figure.add_trace(
            go.Bar(
                x=compact((edges[:-1] + edges[1:]) / 2),
                y=compact(np.bincount(which, values, SLICES)),
                name=name,
                marker={"color": faint(colour, 0.85), "line": {"width": 0}},
                hovertemplate="%{y:.3s}B",
            ),
            row=2,
            col=1,
        )
    figure.update_yaxes(title="so far", fixedrange=True, **BYTES, row=1, col=1)
    figure.update_yaxes(title="a slice", rangemode="tozero", fixedrange=True, **BYTES, row=2, col=1)
    figure.update_xaxes(**time_axis(window))
    figure.for_each_xaxis(lambda axis: axis.update(title=None) if axis.showticklabels is False else None)
    figure.update_layout(
        height=420,
        barmode="stack",
        bargap=0,
        hovermode="x unified",
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 50},
    )
    return figure
