"""The timeline: phases, memory, storage, pressure, CPU and power in rows above each other on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture, time_axis
from edgeprof.dashboards.report.figures.series import SUMMARY_COLUMNS
from edgeprof.dashboards.report.figures.timeline import memory, phases, power, pressure, processor, traffic
from edgeprof.dashboards.report.figures.timeline.row import Row, RowBuilder

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from edgeprof.dashboards.report.data import RunData

ROWS: Sequence[RowBuilder] = (
    phases.row,
    memory.run_row,
    memory.system_row,
    traffic.read_row,
    traffic.write_row,
    pressure.row,
    processor.row,
    power.gpu_row,
    power.gpu_memory_row,
    power.power_row,
    power.thermal_row,
)
ROW_HEIGHT, ROW_SPACE, FOOT = 118, 44, 48


def build(data: RunData) -> Outcome:
    """All rows of the run."""
    return stacked(data, "timeline", "Timeline", ROWS)


def stacked(data: RunData, key: str, title: str, builders: Sequence[RowBuilder]) -> Outcome:
    """A figure of all rows that have data; the others are listed with their reasons."""
    outcomes = [builder(data) for builder in builders]
    rows = [item for item in outcomes if isinstance(item, Row)]
    missing = [item for item in outcomes if isinstance(item, Absent)]
    if not rows:
        reasons = "; ".join(dict.fromkeys(item.reason for item in missing))
        remedies = "; ".join(dict.fromkeys(item.remedy for item in missing if item.remedy))
        return Absent(key, title, reasons, remedies)
    series = [[f"{row.title}: {line[0]}", *line[1:]] for row in rows for line in (s.summary() for s in row.series)]
    return Picture(
        key=key,
        title=title,
        figure=rows_figure(rows, data.window),
        caption="Seconds since the program started. All rows share one time axis: drag over any row to look closer, "
        "double-click to see the whole run again. Lines keep the least and greatest sample of each pixel or two.",
        label="Rows above each other over time: " + ", ".join(row.title for row in rows) + ".",
        limits=list(dict.fromkeys(limit for row in rows for limit in row.limits)),
        table=DataTable(SUMMARY_COLUMNS, series, "Every sample is in the run's tables folder.") if series else None,
        parts=[(row.title, row.caption) for row in rows],
        missing=missing,
    )


def rows_figure(rows: Sequence[Row], window: tuple[float, float]) -> go.Figure:
    """One x axis; each row a y axis of its own in its part of the height, with its legend above it."""
    import plotly.graph_objects as go

    height = sum(row.weight * ROW_HEIGHT + ROW_SPACE for row in rows)
    figure = go.Figure()
    layout: dict[str, Any] = {"height": round(height + FOOT), "annotations": []}
    top = 1.0
    for number, row in enumerate(rows, 1):
        suffix = "" if number == 1 else str(number)
        axis, legend = f"y{suffix}", f"legend{suffix}"
        top -= ROW_SPACE / height
        bottom = max(0.0, top - row.weight * ROW_HEIGHT / height)
        layout[f"yaxis{suffix}"] = {"nticks": 5, **row.axis, "domain": [bottom, top], "anchor": "x"}
        layout[legend] = _legend(top, height)
        layout["annotations"].append(_heading(row.title, top, height))
        figure.add_traces(row.draw(axis, legend))
        top = bottom
    layout["xaxis"] = {
        **time_axis(window),
        "anchor": f"y{len(rows)}" if len(rows) > 1 else "y",
        "showspikes": True,
        "spikemode": "across",
        "spikethickness": 1,
        "spikedash": "dot",
    }
    figure.update_layout(
        **layout,
        barmode="overlay",
        hovermode="x unified",
        hoversubplots="axis",
        dragmode="zoom",
        showlegend=True,  # of a row with one line, too
        margin={"l": 70, "r": 16, "t": 0, "b": FOOT},
    )
    return figure


def _legend(top: float, height: float) -> dict[str, Any]:
    return {
        "orientation": "h",
        "x": 1,
        "xanchor": "right",
        "y": min(1.0, top + 2 / height),
        "yanchor": "bottom",
        "font": {"size": 12},
        "traceorder": "normal",
    }


def _heading(title: str, top: float, height: float) -> dict[str, Any]:
    return {
        "text": f"<b>{title}</b>",
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": top + 4 / height,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 13},
    }
