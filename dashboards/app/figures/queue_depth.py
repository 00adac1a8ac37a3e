"""Queue depth: how many requests each device had at a time, in its queue and inside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.dashboards.app.cut import CutData
from edgeprof.dashboards.report.downsample import Floats, covered
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
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import CYCLE, faint
from edgeprof.profiler.units import count, human, seconds

KEY, TITLE = "queue-depth", "Queue depth"
SLICES = 400
DEVICES = 4


@dataclass(frozen=True)
class _Depth:
    """Requests outstanding on one device in each slice of the window: mean, greatest, and mean inside the device."""

    device: str
    mean: Floats
    most: Floats
    inside: Floats
    busy: float  # share of the window with at least one request


def build(data: CutData) -> Outcome:
    """A line for each device, of all who use it."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    edges = np.linspace(*data.window, SLICES + 1)
    found = []
    for device in data.text("block_io", "device").present()[:DEVICES]:
        begun, issued, ended = _open_in(data, device, edges[0], edges[-1])
        if len(begun):
            inside = np.isfinite(issued)
            found.append(_depth(device, begun, ended, issued[inside], ended[inside], edges))
    if not found:
        return Absent(KEY, TITLE, "no request has a time")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(data, found, edges),
        caption=f"Requests outstanding on a device, from being queued to completion, whoever asked for them: mean of "
        f"each slice of {seconds(float(edges[1] - edges[0]))} (line) and greatest in it (area). The dotted line is the "
        "mean number that the driver and the device were working on; the rest waited in the queue.",
        label="Requests outstanding over time on " + ", ".join(clean(item.device) for item in found) + ".",
        limits=_limits(data),
        table=DataTable(
            ("Device", "Mean", "Greatest", "Mean in the device", "Share of time with any"),
            [
                [
                    clean(item.device),
                    human(float(item.mean.mean()), "count"),
                    count(float(item.most.max())),
                    human(float(item.inside.mean()), "count"),
                    human(item.busy, "share"),
                ]
                for item in found
            ],
        ),
    )


def _open_in(data: CutData, device: str, first: float, last: float) -> tuple[Floats, Floats, Floats]:
    """A device's requests that were open at some time between two moments: begun (ascending), issued, ended.

    Those that never completed are open for ever.
    """
    everything = data.of_all_time  # those queued before the window count, too
    key = (str(data.run.path), data.stamp("block_io"), "open requests", device, everything.cut)
    begun, issued, ended, reach = data.columns.get(key, lambda: _by_beginning(everything, device))
    near = slice(int(np.searchsorted(reach, first, side="right")), int(np.searchsorted(begun, last)))
    still = ended[near] > first
    return begun[near][still], issued[near][still], ended[near][still]


def _by_beginning(data: CutData, device: str) -> tuple[Floats, Floats, Floats, Floats]:
    """A device's requests by their beginning: begun, issued, ended, and the latest end until then (ascending)."""
    mine = data.text("block_io", "device").is_(device)
    queued, issued, completed = (
        data.number("block_io", column)[mine] for column in ("queued_ns", "issued_ns", "completed_ns")
    )
    begun = np.where(np.isfinite(queued), queued, np.where(np.isfinite(issued), issued, completed))
    ended = np.where(np.isfinite(completed), completed, np.inf)
    order = np.argsort(begun, kind="stable")
    order = order[: np.count_nonzero(np.isfinite(begun))]  # NaN sorts last
    begun, issued, ended = begun[order], issued[order], ended[order]
    return begun, issued, ended, np.maximum.accumulate(ended)


def _limits(data: CutData) -> list[str]:
    limits = []
    if data.cut.phase or data.cut.op or data.cut.process is not None:
        limits.append("Only the requests that are chosen count: the device may have had more.")
    host = data.manifest.get("host")
    known = host.get("devices") if isinstance(host, dict) else None
    for entry in known.values() if isinstance(known, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("nr_requests"), int):
            name = entry.get("name")
            if name in data.text("block_io", "device").present()[:DEVICES]:
                limits.append(f"The queue of {clean(name)} takes {entry['nr_requests']} requests (nr_requests).")
    return limits


def _depth(device: str, begun: Floats, ended: Floats, issued: Floats, left: Floats, edges: Floats) -> _Depth:
    ends = np.sort(ended)
    after = np.arange(1, len(begun) + 1) - np.searchsorted(ends, begun, side="right")  # depth as each joins
    at_edges = np.searchsorted(begun, edges, side="right") - np.searchsorted(ends, edges, side="right")
    most = at_edges[:-1].astype(np.float64)
    which = np.searchsorted(edges, begun, side="right") - 1
    inside = (which >= 0) & (which < SLICES)
    np.maximum.at(most, which[inside], after[inside])
    width = edges[1] - edges[0]
    mean = np.maximum(np.diff(covered(begun, ends, edges)) / width, 0.0)  # sums of large numbers leave -1e-12
    working = np.maximum(np.diff(covered(issued, left, edges)) / width, 0.0)
    return _Depth(device, mean, most, working, busy_time(begun, ended, edges[0], edges[-1]) / (edges[-1] - edges[0]))


def busy_time(begun: Floats, ended: Floats, first: float, last: float) -> float:
    """Seconds between two moments in which at least one of some intervals was open; ``begun`` ascends."""
    begun, reach = np.clip(begun, first, last), np.maximum.accumulate(np.clip(ended, first, last))
    opened = np.maximum(begun, np.r_[first, reach[:-1]])
    return float(np.maximum(reach - opened, 0.0).sum())


def _figure(data: CutData, found: list[_Depth], edges: Floats) -> Any:
    import plotly.graph_objects as go

    figure, middle = go.Figure(), compact((edges[:-1] + edges[1:]) / 2)
    for item, colour in zip(found, CYCLE, strict=False):
        name = label(item.device)
        lines: tuple[tuple[str, Floats, dict[str, Any]], ...] = (
            (
                f"{name}, greatest",
                item.most,
                {"line": {"width": 0}, "fill": "tozeroy", "fillcolor": faint(colour, 0.25)},
            ),
            (f"{name}, mean", item.mean, {"line": {"color": colour, "width": 1.6}}),
            (f"{name}, in the device", item.inside, {"line": {"color": colour, "width": 1.2, "dash": "dot"}}),
        )
        for shown, values, style in lines:
            figure.add_trace(
                go.Scatter(x=middle, y=compact(values), name=shown, mode="lines", hovertemplate="%{y:.3~f}", **style)
            )
    figure.update_yaxes(title="requests", rangemode="tozero", fixedrange=True)
    figure.update_xaxes(**time_axis(data.window))
    figure.update_layout(
        height=320,
        hovermode="x unified",
        showlegend=True,
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 50},
    )
    return figure
