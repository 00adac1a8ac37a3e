"""Where on the devices requests go over time: the picture that shows sequential and random access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.report import downsample
from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture, absent, compact, time_axis
from edgeprof.dashboards.report.figures.zones import ZONE_BYTES, Zones, offset_text
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import DENSITY, OWNER_NAMES, OWNERS
from edgeprof.profiler.units import count, request_size

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "offsets", "Block accesses by offset and time"
MOST_POINTS = 3000
OTHERS_POINTS = 1200
PANELS = 4
COLUMNS, ROWS = 180, 90
HEIGHT = 230
_SECTOR = 512
_SYMBOLS = {"run": "circle", "kernel": "diamond", "profiler": "triangle-up", "other": "x"}


@dataclass(frozen=True)
class _Panel:
    """Requests of one operation on one device: seconds, offsets in bytes, positions on the axis, rows by owner."""

    device: str
    operation: str
    time: Floats
    offset: Floats
    position: Floats
    owners: dict[str, NDArray[np.bool_]]
    zones: Zones

    @property
    def dense(self) -> bool:
        return int(self.owners["run"].sum()) > MOST_POINTS


def build(data: RunData) -> Outcome:
    """A panel for each device and operation; points where they are few, density where they are many."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    panels, others = _panels(data)
    if not panels:
        return Absent(KEY, TITLE, "no read or write with an offset was seen on a block device")
    elsewhere = sum(int(np.isnan(panel.position).sum()) for panel in panels)
    limits = []
    if elsewhere:
        limits.append(f"{count(elsewhere)} requests of others lie where the run did not go, and are not shown.")
    if others:
        limits.append(f"{count(others)} requests on other devices or with other operations are not shown.")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(panels, data.window),
        caption=_caption(panels),
        label="Offset on the device over time, a panel each for "
        + ", ".join(f"{panel.operation}s on {clean(panel.device)}" for panel in panels)
        + ".",
        limits=limits,
        table=_table(panels),
    )


def _caption(panels: Sequence[_Panel]) -> str:
    words = (
        "Each request at the moment it was queued and at its offset on the device: a rising line is sequential access, "
        "a cloud is random access. Colour and shape tell whose request it is."
    )
    if not all(panel.zones.contiguous() for panel in panels):
        words += (
            f" Stretches of {request_size(ZONE_BYTES)} that the run did not touch are left out of the vertical axis."
        )
    if any(panel.dense for panel in panels):
        words += (
            f" Where the run made more than {MOST_POINTS:,} requests, its own are drawn as a density: the shade of a "
            "cell is the number of requests in it, counted over all of them."
        )
    if any(mine.sum() > OTHERS_POINTS for panel in panels for owner, mine in panel.owners.items() if owner != "run"):
        words += f" Of each other owner's requests {OTHERS_POINTS:,} in a panel, picked at random, are shown."
    return words


def _panels(data: RunData) -> tuple[list[_Panel], int]:
    """Devices with most requests of the run first; requests that have no panel are counted."""
    devices, operations = data.text("block_io", "device"), data.text("block_io", "op")
    time, sector = data.number("block_io", "queued_ns"), data.number("block_io", "sector")
    time = np.where(np.isfinite(time), time, data.number("block_io", "issued_ns"))
    drawable = np.isfinite(time) & np.isfinite(sector) & (sector >= 0)
    owners = _owners(data)
    found: list[tuple[int, int, NDArray[np.bool_], str, str]] = []
    for device in devices.present():
        for operation in ("read", "write", "discard"):
            mine = drawable & devices.is_(device) & operations.is_(operation)
            of_run = int((mine & owners["run"]).sum())
            if mine.any() and (of_run or operation != "discard"):
                found.append((of_run, int(mine.sum()), mine, device, operation))
    found.sort(key=lambda item: (-item[0], -item[1]))
    panels = []
    for of_run, _, mine, device, operation in found[:PANELS]:
        offset = sector[mine] * _SECTOR
        theirs = {owner: rows[mine] for owner, rows in owners.items()}
        zones = Zones.of(offset[theirs["run"]] if of_run else offset)
        panels.append(_Panel(device, operation, time[mine], offset, zones.position(offset), theirs, zones))
    return panels, int(drawable.sum()) - sum(len(panel.time) for panel in panels)


def _owners(data: RunData) -> dict[str, NDArray[np.bool_]]:
    """Rows of each owner; those without one count as other."""
    owners = data.text("block_io", "owner")
    found = {owner: owners.is_(owner) for owner in OWNERS}
    return {**found, "other": found["other"] | (owners.codes < 0)}


def _figure(panels: list[_Panel], window: tuple[float, float]) -> Any:
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.14 / len(panels),
        subplot_titles=[f"{panel.operation.capitalize()}s on {label(panel.device)}" for panel in panels],
    )
    legend: set[str] = set()
    for row, panel in enumerate(panels, 1):
        for trace in _traces(panel, legend):
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(**_offset_axis(panel), row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_xaxes(**time_axis(window))
    figure.for_each_xaxis(lambda axis: axis.update(title=None) if axis.showticklabels is False else None)
    scale = {"title": {"text": "requests", "font": {"size": 12}}, "thickness": 12, "outlinewidth": 0}
    ticks = {"tickvals": list(range(7)), "ticktext": ["1", "10", "100", "1k", "10k", "100k", "1M"]}
    figure.update_layout(
        height=90 + HEIGHT * len(panels),
        hovermode="closest",
        showlegend=True,
        legend={
            "orientation": "h",
            "y": -54 / (HEIGHT * len(panels)),
            "yanchor": "top",
            "x": 0,
            "itemsizing": "constant",
        },
        margin={"l": 70, "r": 16, "t": 30, "b": 60},
        coloraxis={"colorscale": DENSITY, "colorbar": {**scale, **ticks}},
    )
    return figure


def _offset_axis(panel: _Panel) -> dict[str, Any]:
    low, high = float(np.nanmin(panel.position)), float(np.nanmax(panel.position))
    margin = max(0.04 * (high - low), 4096.0)
    at, texts = panel.zones.ticks(low, high)
    return {
        "title": "offset",
        "tickvals": at,
        "ticktext": texts,
        "range": [low - margin, high + margin],
        "zeroline": False,
    }


def _traces(panel: _Panel, legend: set[str]) -> list[Any]:
    traces = []
    for owner, rows in panel.owners.items():
        mine = np.flatnonzero(rows & np.isfinite(panel.position))
        if owner == "run" and panel.dense:
            traces.append(_heatmap(panel.time[mine], panel.position[mine]))
        elif len(mine):
            keep = mine[downsample.sample(len(mine), MOST_POINTS if owner == "run" else OTHERS_POINTS)]
            traces.append(_points(panel, keep, owner, legend))
    return traces


def _heatmap(time: Floats, position: Floats) -> Any:
    import plotly.graph_objects as go

    counts, x, y = downsample.density(time, position, COLUMNS, ROWS)
    with np.errstate(divide="ignore"):
        z = np.where(counts > 0, np.log10(counts), np.nan)
    return go.Heatmap(
        x0=float(x[0]),
        dx=float(x[1] - x[0]),
        y0=float(y[0]),
        dy=float(y[1] - y[0]),
        z=compact(z),
        coloraxis="coloraxis",
        hoverongaps=False,
        name=OWNER_NAMES["run"],
        hovertemplate="%{x:.3~s}s: 10<sup>%{z:.1f}</sup> requests",
    )


def _points(panel: _Panel, keep: NDArray[np.int64], owner: str, legend: set[str]) -> Any:
    import plotly.graph_objects as go

    first = owner not in legend
    legend.add(owner)
    return go.Scatter(
        x=compact(panel.time[keep]),
        y=compact(panel.position[keep]),
        customdata=panel.offset[keep],
        mode="markers",
        name=OWNER_NAMES[owner],
        legendgroup=owner,
        showlegend=first,
        marker={"color": OWNERS[owner], "size": 3 if owner == "run" else 4, "opacity": 0.8, "symbol": _SYMBOLS[owner]},
        hovertemplate="%{x:.4~s}s, offset %{customdata:.7s}B",
    )


def _table(panels: list[_Panel]) -> DataTable:
    rows = []
    for panel in panels:
        for owner, mine in panel.owners.items():
            offset = panel.offset[mine]
            if len(offset):
                span = (offset_text(float(value)) for value in (offset.min(), offset.max()))
                rows.append([clean(panel.device), f"{panel.operation}s", OWNER_NAMES[owner], count(len(offset)), *span])
    return DataTable(("Device", "Operation", "Whose", "Requests", "Lowest offset", "Highest offset"), rows)
