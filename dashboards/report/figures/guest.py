"""A virtual machine's block requests above the host's requests for the same disk image, on one clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report import downsample
from edgeprof.dashboards.report.figures.base import BYTES, Absent, DataTable, Outcome, Picture, time_axis
from edgeprof.dashboards.report.theme import OPERATIONS
from edgeprof.profiler.units import count, human

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData
    from edgeprof.profiler.isolation.vm_requests import Side, Sides

KEY, TITLE = "guest", "Guest and host"
MOST_POINTS = 3000
_HEIGHT = 230
_NS = 1e9


def concerns(data: RunData) -> bool:
    """Whether the workload ran in a virtual machine."""
    return (data.run.path / "guest").is_dir()


def build(data: RunData) -> Outcome:
    """Two panels with one time axis and one axis of offsets in the image."""
    from edgeprof.profiler.isolation.vm_requests import NotTogether, both_sides, lined_up

    try:
        sides = both_sides(data.run)
    except NotTogether as reason:
        return Absent(KEY, TITLE, str(reason), "--vm-share disk gives the guest a disk of its own")
    if not len(sides.guest):
        return Absent(KEY, TITLE, "the guest made no request for its data's disk")
    together = lined_up(sides)
    share = human(float(together.mean()), "share")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(data, sides),
        caption=(
            "Requests of the guest for its data's disk, and below them those of QEMU on the host for the same bytes of "
            "the disk's image, each when it was issued and at its offset in the image. The guest's times are turned "
            f"into the host's, to ±{human(sides.error_ns, 'ns')}; within that, the host served {share} of the guest's "
            "requests while the guest waited for them. The axes show the stretch of the guest's requests. The guest's "
            "own report is guest/report.html."
        ),
        label="Offset in the disk image over time, the guest's requests above the host's.",
        table=_table(sides),
    )


def _figure(data: RunData, sides: Sides) -> Any:
    from plotly.subplots import make_subplots

    rows = (("In the guest", sides.guest), ("On the host", sides.host))
    figure = make_subplots(
        rows=2,
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09,
        subplot_titles=[title for title, _ in rows],
    )
    for row, (_, side) in enumerate(rows, 1):
        for trace in _traces(data, side, row == 1):
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(title="offset in the image", range=_span(sides.guest.offset, 4096), **BYTES, row=row, col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_xaxes(**{**time_axis(data.window), "range": _span(_seconds(data, sides.guest), 1e-3)})
    figure.for_each_xaxis(lambda axis: axis.update(title=None) if axis.showticklabels is False else None)
    figure.update_layout(
        height=90 + 2 * _HEIGHT,
        hovermode="closest",
        legend={"orientation": "h", "y": -0.14, "yanchor": "top", "x": 0, "itemsizing": "constant"},
        margin={"l": 70, "r": 16, "t": 30, "b": 60},
    )
    return figure


def _seconds(data: RunData, side: Side) -> Any:
    return (side.issued - data.start_ns) / _NS


def _span(values: Any, least: float) -> list[float]:
    """An axis that shows all of the values, with at least that much room beside them."""
    low, high = float(values.min()), float(values.max())
    room = max(0.04 * (high - low), least)
    return [low - room, high + room]


def _traces(data: RunData, side: Side, legend: bool) -> list[Any]:
    import plotly.graph_objects as go

    from edgeprof.profiler.isolation.vm_requests import OPERATIONS as KINDS

    traces = []
    for number, kind in enumerate(KINDS):
        rows = np.flatnonzero(side.op == number)
        rows = rows[downsample.sample(len(rows), MOST_POINTS)]
        if len(rows) or legend:
            traces.append(
                go.Scatter(
                    x=_seconds(data, side)[rows],
                    y=side.offset[rows],
                    mode="markers",
                    name=f"{kind}s",
                    legendgroup=kind,
                    showlegend=legend,
                    marker={"color": OPERATIONS[kind], "size": 4, "opacity": 0.8},
                    hovertemplate="%{x:.6~s}s, offset %{y:.7s}B",
                )
            )
    return traces


def _table(sides: Sides) -> DataTable:
    from edgeprof.profiler.isolation.vm_requests import OPERATIONS as KINDS

    rows = []
    for name, side in (("guest", sides.guest), ("host", sides.host)):
        for number, kind in enumerate(KINDS):
            mine = side.op == number
            took = (side.completed - side.issued)[mine]
            middle = human(float(np.median(took)), "ns") if len(took) else "none"
            rows.append([name, f"{kind}s", count(int(mine.sum())), human(int(side.bytes[mine].sum()), "bytes"), middle])
    return DataTable(("Side", "Operation", "Requests", "Bytes", "Median time in the device"), rows)
