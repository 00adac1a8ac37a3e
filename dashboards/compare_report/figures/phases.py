"""Where each side's time went: seconds in each phase, a bar a side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeprof.dashboards.compare_report.figures import lacking
from edgeprof.dashboards.report.figures.base import SECONDS, DataTable, Outcome, Picture, bars_in_parts
from edgeprof.dashboards.report.figures.phasing import main_phases, phase_colours
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import GREY, faint
from edgeprof.profiler.units import seconds

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Drawn, Sides

KEY, TITLE = "phases", "Time by phase"
NAMED = 6
OTHERS, OUTSIDE = "other phases", "outside phases"


def build(sides: Sides) -> Outcome:
    """The mean over a side's runs; what lies outside of all phases is the rest of the wall time."""
    spent: dict[str, list[dict[str, float]]] = {}
    without: list[Drawn] = []
    for side in sides.sides:
        for run in sides.drawn[side.name]:
            times = _times(run)
            if times is None:
                without.append(run)
            else:
                spent.setdefault(side.name, []).append(times)
    means = {side: _mean(runs) for side, runs in spent.items()}
    if not any(name != OUTSIDE for times in means.values() for name in times):
        return lacking.absence([run for runs in sides.drawn.values() for run in runs], KEY, TITLE, "phases", "phase")
    total: dict[str, float] = {}
    for times in means.values():
        for name, value in times.items():
            total[name] = total.get(name, 0.0) + value
    named = sorted((name for name in total if name != OUTSIDE), key=lambda name: -total[name])
    shown, rest = named[:NAMED], named[NAMED:]
    colours = phase_colours(shown)
    sides_shown = list(means)[::-1]
    parts = [(label(name), [means[side].get(name, 0.0) for side in sides_shown], colours[name]) for name in shown]
    if rest:
        parts.append((OTHERS, [sum(means[side].get(name, 0.0) for name in rest) for side in sides_shown], GREY))
    parts.append((OUTSIDE, [means[side].get(OUTSIDE, 0.0) for side in sides_shown], _NOTHING))
    figure = bars_in_parts(_labels(sides_shown), parts, "seconds of the main thread", SECONDS, 180)
    return Picture(
        key=KEY,
        title=TITLE,
        figure=figure,
        caption="Seconds of the main thread in each phase, without the phases inside it: the mean over a side's runs."
        f" {sides.left_undrawn}".strip(),
        label="Stacked bars of the time in each phase, one a side.",
        limits=lacking.sentences(without, "phases", "phase"),
        table=DataTable(
            ("Phase", *(clean(side) for side in means)),
            [[clean(name), *(seconds(times.get(name, 0.0)) for times in means.values())] for name in [*named, OUTSIDE]],
        ),
    )


_NOTHING = faint(GREY, 0.25)
"""Time that no phase explains."""


def _labels(names: list[str]) -> list[str]:
    """Names of bars, short where that leaves them different: bars of one name would lie on top of each other."""
    short = [label(name, 28) for name in names]
    return short if len(set(short)) == len(names) else [label(name, 200) for name in names]


def _times(run: Drawn) -> dict[str, float] | None:
    """Seconds in each phase and outside of all, of what is looked at; None where the run has no phases at all."""
    phases = main_phases(run.whole)  # which thread is the main one is told by the whole run
    if phases is None:
        return None
    begin, end = run.data.window
    if run.data is not run.whole:
        phases = replace(phases, start=np.clip(phases.start, begin, end), end=np.clip(phases.end, begin, end))
    times = phases.time_by_name()
    outside = max(0.0, min(end, run.data.wall_time) - max(begin, 0.0) - sum(times.values()))
    return {**times, OUTSIDE: outside}


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for times in runs for name in times)
    return {name: float(np.mean([times.get(name, 0.0) for times in runs])) for name in names}
