"""Memory by phase: how much of which kind is held while each phase runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import (
    BYTES,
    LEGEND_ABOVE,
    Absent,
    DataTable,
    Outcome,
    Picture,
    absent,
    compact,
)
from edgeprof.dashboards.report.figures.phasing import main_phases
from edgeprof.dashboards.report.figures.series import Series
from edgeprof.dashboards.report.figures.timeline.memory import cgroup_kinds, process_kinds
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import INK
from edgeprof.profiler.units import count, human, seconds

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

KEY, TITLE = "phase-memory", "Memory by phase"
PHASES = 12
OUTSIDE = "outside phases"


@dataclass(frozen=True)
class _Phase:
    name: str
    spent: float
    means: Floats  # one a kind
    peak: float
    samples: int


def build(data: RunData) -> Outcome:
    """Mean of each kind as stacked bars, the greatest sum as a mark."""
    phases = main_phases(data)
    if phases is None:
        return absent(data, KEY, TITLE, "phases")
    parts = cgroup_kinds(data) or process_kinds(data)
    if not parts:
        return absent(data, KEY, TITLE, "cgroup")
    begin, end = data.window
    shown = (parts[0].time >= begin) & (parts[0].time <= end)
    time = parts[0].time[shown]
    values = np.array([part.values[shown] for part in parts])
    code = phases.innermost(time)
    spent = phases.time_by_name()
    found = []
    for name in [*list(spent)[:PHASES], OUTSIDE]:
        mine = code == (-1 if name == OUTSIDE else phases.names.index(name))
        inside = values[:, mine]
        if not np.isfinite(inside).any():
            continue
        peak = float(np.nansum(inside, axis=0).max())
        length = spent.get(name, max(0.0, data.window[1] - data.window[0] - sum(spent.values())))
        found.append(_Phase(name, length, np.nan_to_num(_mean(inside)), peak, int(mine.sum())))
    if not found:
        return Absent(KEY, TITLE, "no memory sample fell into a phase", "sample faster with --rate")
    return _picture(found, parts)


def _mean(values: Floats) -> Floats:
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
    return mean


def _picture(found: list[_Phase], parts: list[Series]) -> Picture:
    rows = [
        [
            clean(phase.name),
            seconds(phase.spent),
            *(human(float(mean), "bytes") for mean in phase.means),
            human(phase.peak, "bytes"),
            count(phase.samples),
        ]
        for phase in found
    ]
    heads = ("Phase", "Time in it", *(f"Mean {part.name}" for part in parts), "Peak", "Samples")
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(found, parts),
        caption="Memory of the run while each phase of the main thread was the innermost one: bars are means by kind, "
        "the mark is the peak of their sum.",
        label="Stacked bars of mean memory by kind for " + ", ".join(clean(phase.name) for phase in found) + ".",
        limits=["A phase shorter than the time between samples is seen only when a sample happens to fall into it."],
        table=DataTable(heads, rows),
    )


def _figure(found: list[_Phase], parts: list[Series]) -> Any:
    import plotly.graph_objects as go

    figure, names = go.Figure(), [label(phase.name) for phase in found]
    for number, part in enumerate(parts):
        figure.add_trace(
            go.Bar(
                x=names,
                y=compact([phase.means[number] for phase in found]),
                name=part.name,
                marker={"color": part.colour},
                hovertemplate="mean %{y:.3s}B",
            )
        )
    figure.add_trace(
        go.Scatter(
            x=names,
            y=compact([phase.peak for phase in found]),
            mode="markers",
            name="peak",
            marker={"symbol": "line-ew-open", "size": 22, "color": INK, "line": {"width": 2.5}},
            hovertemplate="%{y:.3s}B",
        )
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(rangemode="tozero", **BYTES)
    figure.update_layout(
        barmode="stack",
        height=340,
        bargap=0.45,
        showlegend=True,
        hovermode="x unified",
        legend=LEGEND_ABOVE,
        margin={"l": 70, "r": 16, "t": 30, "b": 40},
    )
    return figure
