"""Timeline row: the program's phases, as bars where they are few and as shares of time where they are many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprof.dashboards.report.figures.base import Absent, absent, compact
from edgeprof.dashboards.report.figures.phasing import MainPhases, main_phases, phase_colours
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.text import label
from edgeprof.dashboards.report.theme import GREY, faint
from edgeprof.profiler.units import seconds

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

MOST_BARS = 600
SHARE_BINS = (60, 400)
PHASES_A_BIN = 16
"""A slice shorter than a few steps would show their beat against it, not how they change."""
NAMED = 7


def row(data: RunData) -> Row | Absent:
    """Bars up to `MOST_BARS` phases, else the share of each slice of time that each phase takes."""
    phases = main_phases(data)
    if phases is None:
        return absent(data, "timeline-phases", "Phases", "phases")
    return _bars(phases) if len(phases.start) <= MOST_BARS else _shares(phases, data.window)


def _bars(phases: MainPhases) -> Row:
    colours = phase_colours(list(phases.time_by_name()))
    deepest = int(phases.depth.max())

    def draw(axis: str, legend: str) -> list[Any]:
        import plotly.graph_objects as go

        traces = []
        for name, colour in colours.items():
            mine = phases.code == phases.names.index(name)
            length = (phases.end - phases.start)[mine]
            traces.append(
                go.Bar(
                    orientation="h",
                    base=compact(phases.start[mine]),
                    x=compact(length),
                    y=compact(-phases.depth[mine]),
                    width=0.9,
                    name=label(name),
                    customdata=[seconds(float(value)) for value in length],
                    hovertemplate="%{customdata}",
                    marker={"color": colour, "line": {"width": 0}},
                    yaxis=axis,
                    legend=legend,
                )
            )
        return traces

    return Row(
        title="Phases",
        draw=draw,
        axis={"range": [-deepest - 0.55, 0.55], "tickvals": [], "fixedrange": True},
        caption="Each bar is a phase of the main thread; a phase that runs inside another lies below it.",
        weight=0.3 + 0.25 * min(deepest + 1, 4),
    )


def _shares(phases: MainPhases, window: tuple[float, float]) -> Row:
    times = phases.time_by_name()
    colours = phase_colours(list(times))
    shown, rest = list(times)[:NAMED], list(times)[NAMED:]
    bins = int(np.clip(len(phases.start) // PHASES_A_BIN, *SHARE_BINS))
    edges = np.linspace(window[0], max(window[1], float(phases.end.max())), bins + 1)

    def area(names: list[str], shown_as: str, colour: str, axis: str, legend: str) -> Any:
        import plotly.graph_objects as go

        spent = np.sum([np.diff(phases.covered_by(name, edges)) for name in names], axis=0)
        return go.Scatter(
            x=compact((edges[:-1] + edges[1:]) / 2),
            y=compact(spent / np.diff(edges)),
            name=shown_as,
            mode="lines",
            line={"width": 0.5, "color": colour},
            fillcolor=faint(colour, 0.8),
            stackgroup=axis,
            yaxis=axis,
            legend=legend,
            hovertemplate="%{y:.1%}",
        )

    def draw(axis: str, legend: str) -> list[Any]:
        traces = [area([name], label(name), colours[name], axis, legend) for name in shown]
        if rest:
            traces.append(area(rest, f"{len(rest)} other phases", GREY, axis, legend))
        return traces

    slice_length = seconds(float(edges[1] - edges[0]))
    return Row(
        title="Phases",
        draw=draw,
        axis={"range": [0, 1], "tickformat": ".0%", "nticks": 3, "fixedrange": True},
        caption=(
            f"Share of the main thread's time that each phase takes (without the phases inside it), in slices of "
            f"{slice_length}: {len(phases.start):,} phases are too many to draw one by one. What stays empty "
            "is outside of all phases."
        ),
        weight=0.9,
    )
