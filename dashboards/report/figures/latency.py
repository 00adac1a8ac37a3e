"""Request latency: how long requests waited in the queue and how long the device took, reads and writes apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats, Ints, log_histogram
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture, absent, compact
from edgeprof.dashboards.report.figures.requests import device_time, latency, of_run, positive, queue_time
from edgeprof.dashboards.report.theme import INK, ORANGE, SKY, faint
from edgeprof.profiler.units import count, seconds

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "latency", "Request latency"
_PARTS = (("in the device", SKY, device_time), ("in the queue", ORANGE, queue_time), ("whole request", INK, latency))
BELOW_AXIS = 0.5
"""Where a log axis that starts at one request shows none."""

_PERCENTILES = (50, 90, 99, 99.9)


def build(data: RunData) -> Outcome:
    """A panel each for reads and writes that completed."""
    if not data.has("block_io"):
        return absent(data, KEY, TITLE, "block_io")
    panels: list[tuple[str, dict[str, Floats]]] = []
    limits: list[str] = []
    for operation in ("read", "write"):
        chosen = of_run(data, operation)
        parts = {name: positive(values(data)[chosen.mask]) for name, _, values in _PARTS}
        if any(len(values) for values in parts.values()):
            panels.append((operation, parts))
            limits += chosen.limits
    if not panels:
        return Absent(
            KEY,
            TITLE,
            "no read or write of the run reached a block device",
            "start with a cold page cache to see reads",
        )
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(panels),
        caption="How many requests took how long, both axes logarithmic. The whole request is from being queued to its "
        "completion; the time in the queue ends when the driver gets it, the time in the device begins there.",
        label="Histograms of request latency for " + " and ".join(f"{name}s" for name, _ in panels) + ".",
        limits=list(dict.fromkeys(limits)),
        table=_table(panels),
    )


def _figure(panels: list[tuple[str, dict[str, Floats]]]) -> Any:
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    titles = [f"{name.capitalize()}s" for name, _ in panels]
    figure = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    most = 1
    for column, (_, parts) in enumerate(panels, 1):
        for name, colour, _ in _PARTS:
            edges, counts = _with_ends(*log_histogram(parts[name]))
            if not len(counts):
                continue
            most = max(most, int(counts.max()))
            figure.add_trace(
                go.Scatter(
                    x=compact(np.sqrt(edges[:-1] * edges[1:])),
                    y=compact(np.maximum(counts, BELOW_AXIS)),
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1 or not len(panels[0][1][name]),
                    mode="lines",
                    line={"color": colour, "shape": "hvh", "width": 1.6},
                    fill="tozeroy" if name == "in the device" else None,
                    fillcolor=faint(colour, 0.2),
                    customdata=compact(counts),
                    hovertemplate="%{customdata} requests",
                ),
                row=1,
                col=column,
            )
    figure.update_annotations(font={"size": 13})
    figure.update_xaxes(type="log", tickformat="~s", ticksuffix="s", dtick=1, title="latency", hoverformat=".2s")
    figure.update_yaxes(type="log", dtick=1, tickformat="~s", range=[np.log10(0.7), np.log10(most) + 0.15])
    figure.update_yaxes(title="requests", col=1)
    figure.update_layout(
        height=380,
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.22, "yanchor": "top", "x": 0},
        margin={"l": 60, "r": 16, "t": 34, "b": 40},
    )
    return figure


def _with_ends(edges: Floats, counts: Ints) -> tuple[Floats, Ints]:
    """An empty bin at each end, so that the outline closes."""
    if not len(counts):
        return edges, counts
    ratio = edges[-1] / edges[-2]
    return np.r_[edges[0] / ratio, edges, edges[-1] * ratio], np.r_[0, counts, 0]


def _table(panels: list[tuple[str, dict[str, Floats]]]) -> DataTable:
    rows = []
    for operation, parts in panels:
        for name, _, _ in reversed(_PARTS):
            values = parts[name]
            if len(values):
                marks = np.percentile(values, _PERCENTILES)
                rows.append(
                    [
                        f"{operation}s, {name}",
                        count(len(values)),
                        *(seconds(float(v)) for v in marks),
                        seconds(float(values.max())),
                    ]
                )
    heads = ("Requests", "Number", *(f"p{p:g}" for p in _PERCENTILES), "Greatest")
    return DataTable(heads, rows)
