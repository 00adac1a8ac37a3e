"""Where on the devices requests go over time: the picture that shows sequential and random access."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.dashboards.report import downsample
from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import (
    BYTES,
    Absent,
    DataTable,
    Outcome,
    Picture,
    absent,
    compact,
    time_axis,
)
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import DENSITY, OWNER_NAMES, OWNERS
from edgeprof.dashboards.report.units import count, human

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "offsets", "Block accesses by offset and time"
MOST_POINTS = 3000
OTHERS_POINTS = 1200
PANELS = 4
COLUMNS, ROWS = 180, 90
_SECTOR = 512


@dataclass(frozen=True)
class _Panel:
    device: str
    operation: str
    time: Floats
    offset: Floats
    owners: NDArray[np.int64]


def build(data: RunData) -> Outcome:
    """A panel for each device and operation; points where they are few, density where they are many."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    panels, left_out = _panels(data)
    if not panels:
        return Absent(KEY, TITLE, "no request with a sector was seen on a block device")
    names = data.text("block_io", "owner").names
    dense = any(_is_dense(panel, names) for panel in panels)
    caption = (
        "Each request at the moment it was queued and at its offset on the device: a rising line is sequential access, "
        "a cloud is random access. Colour tells whose request it is."
    )
    if dense:
        caption += (
            f" Where the run made more than {MOST_POINTS:,} requests, its own are drawn as a density: the shade "
            f"of a cell is the number of requests in it, counted over all of them; of each other owner's requests "
            f"up to {OTHERS_POINTS:,}, picked at random, are shown as points."
        )
    limits = (
        [f"{count(left_out)} requests on other devices or with other operations are not shown."] if left_out else []
    )
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(panels, names, data.wall_time),
        caption=caption,
        label="Offset on the device over time, a panel each for "
        + ", ".join(f"{panel.operation}s on {clean(panel.device)}" for panel in panels)
        + ".",
        limits=limits,
        table=_table(panels, names),
    )


def _panels(data: RunData) -> tuple[list[_Panel], int]:
    """Devices with most requests of the run first; what the panels leave out is counted."""
    devices, operations = data.text("block_io", "device"), data.text("block_io", "op")
    owners = data.text("block_io", "owner")
    time, sector = data.number("block_io", "queued_ns"), data.number("block_io", "sector")
    time = np.where(np.isfinite(time), time, data.number("block_io", "issued_ns"))
    drawable = np.isfinite(time) & np.isfinite(sector)
    run = owners.is_("run")
    found: list[tuple[tuple[int, int], _Panel]] = []
    for device in devices.present():
        on_device = drawable & devices.is_(device)
        for operation in ("read", "write", "discard"):
            mine = on_device & operations.is_(operation)
            if mine.any():
                weight = (int((mine & run).sum()), int(mine.sum()))
                found.append(
                    (weight, _Panel(device, operation, time[mine], sector[mine] * _SECTOR, owners.codes[mine]))
                )
    found.sort(key=lambda item: (-item[0][0], -item[0][1]))
    chosen = [panel for _, panel in found[:PANELS]]
    return chosen, int(drawable.sum()) - sum(len(panel.time) for panel in chosen)


def _owner_mask(panel: _Panel, names: list[str], owner: str) -> NDArray[np.bool_]:
    """Rows of one owner; those without an owner count as other."""
    mask: NDArray[np.bool_] = panel.owners == (names.index(owner) if owner in names else -2)
    return mask | (panel.owners < 0) if owner == "other" else mask


def _is_dense(panel: _Panel, names: list[str]) -> bool:
    return int(_owner_mask(panel, names, "run").sum()) > MOST_POINTS


def _figure(panels: list[_Panel], names: list[str], wall: float) -> Any:
    from plotly.subplots import make_subplots

    figure = make_subplots(
        rows=len(panels),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.14 / len(panels) if len(panels) > 1 else 0,
        subplot_titles=[f"{panel.operation.capitalize()}s on {label(panel.device)}" for panel in panels],
    )
    legend: set[str] = set()
    for row, panel in enumerate(panels, 1):
        for owner in OWNERS:
            for trace in _traces(panel, names, owner, legend):
                figure.add_trace(trace, row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_xaxes(**time_axis(wall))
    figure.for_each_xaxis(lambda axis: axis.update(title=None) if axis.showticklabels is False else None)
    figure.update_yaxes(title="offset", **BYTES)
    figure.update_layout(
        height=90 + 230 * len(panels),
        hovermode="closest",
        showlegend=True,
        legend={"orientation": "h", "y": -54 / (230 * len(panels)), "yanchor": "top", "x": 0, "itemsizing": "constant"},
        margin={"l": 70, "r": 16, "t": 30, "b": 60},
        coloraxis={
            "colorscale": DENSITY,
            "colorbar": {
                "title": {"text": "requests", "font": {"size": 12}},
                "tickvals": list(range(7)),
                "ticktext": ["1", "10", "100", "1k", "10k", "100k", "1M"],
                "thickness": 12,
                "outlinewidth": 0,
            },
        },
    )
    return figure


def _traces(panel: _Panel, names: list[str], owner: str, legend: set[str]) -> list[Any]:
    mine = np.flatnonzero(_owner_mask(panel, names, owner))
    if not len(mine):
        return []
    if owner == "run" and len(mine) > MOST_POINTS:
        return [_heatmap(panel.time[mine], panel.offset[mine])]
    keep = mine[downsample.sample(len(mine), MOST_POINTS if owner == "run" else OTHERS_POINTS)]
    return [_points(panel, keep, owner, legend)]


def _heatmap(time: Floats, offset: Floats) -> Any:
    import plotly.graph_objects as go

    counts, x, y = downsample.density(time, offset, COLUMNS, ROWS)
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
        hovertemplate="%{x:.3~s}s, %{y:.4s}B: 10<sup>%{z:.1f}</sup> requests",
    )


def _points(panel: _Panel, keep: NDArray[np.int64], owner: str, legend: set[str]) -> Any:
    import plotly.graph_objects as go

    first = owner not in legend
    legend.add(owner)
    symbols = {"run": "circle", "kernel": "diamond", "profiler": "triangle-up", "other": "x"}
    return go.Scatter(
        x=compact(panel.time[keep]),
        y=compact(panel.offset[keep]),
        mode="markers",
        name=OWNER_NAMES[owner],
        legendgroup=owner,
        showlegend=first,
        marker={"color": OWNERS[owner], "size": 3 if owner == "run" else 4, "opacity": 0.8, "symbol": symbols[owner]},
        hovertemplate="%{x:.4~s}s, %{y:.4s}B",
    )


def _table(panels: list[_Panel], names: list[str]) -> DataTable:
    rows = []
    for panel in panels:
        for owner in OWNERS:
            offset = panel.offset[_owner_mask(panel, names, owner)]
            if len(offset):
                span = (human(float(value), "bytes") for value in (offset.min(), offset.max()))
                rows.append([clean(panel.device), f"{panel.operation}s", OWNER_NAMES[owner], count(len(offset)), *span])
    return DataTable(("Device", "Operation", "Whose", "Requests", "Lowest offset", "Highest offset"), rows)
