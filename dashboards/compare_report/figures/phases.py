"""Where each side's time went: seconds in each phase, a bar a side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprof.dashboards.report.figures.base import SECONDS, DataTable, Outcome, Picture, absent, bars_in_parts
from edgeprof.dashboards.report.figures.phasing import main_phases, phase_colours
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import GREY, faint
from edgeprof.profiler.units import seconds

if TYPE_CHECKING:
    from edgeprof.dashboards.compare_report.sides import Sides

KEY, TITLE = "phases", "Time by phase"
NAMED = 6
OTHERS, OUTSIDE = "other phases", "outside phases"


def build(sides: Sides) -> Outcome:
    """The mean over a side's runs; what lies outside of all phases is the rest of the wall time."""
    spent: dict[str, list[dict[str, float]]] = {}
    without = []
    for side in sides.sides:
        for run in sides.drawn[side.name]:
            phases = main_phases(run.data)
            if phases is None:
                without.append(run)
                continue
            times = phases.time_by_name()
            begin, end = run.data.window
            outside = max(0.0, min(end, run.data.wall_time) - max(begin, 0.0) - sum(times.values()))
            spent.setdefault(side.name, []).append({**times, OUTSIDE: outside})
    if not spent:
        return absent(without[0].data, KEY, TITLE, "phases")
    means = {side: _mean(runs) for side, runs in spent.items()}
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
    figure = bars_in_parts([label(side, 28) for side in sides_shown], parts, "seconds of the main thread", SECONDS, 180)
    limits = [f"No phase was recorded of {', '.join(clean(run.id) for run in without)}."] if without else []
    return Picture(
        key=KEY,
        title=TITLE,
        figure=figure,
        caption="Seconds of the main thread in each phase, without the phases inside it: the mean over a side's runs."
        f" {sides.left_undrawn}".strip(),
        label="Stacked bars of the time in each phase, one a side.",
        limits=limits,
        table=DataTable(
            ("Phase", *(clean(side) for side in means)),
            [[clean(name), *(seconds(times.get(name, 0.0)) for times in means.values())] for name in [*named, OUTSIDE]],
        ),
    )


_NOTHING = faint(GREY, 0.25)
"""Time that no phase explains."""


def _mean(runs: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for times in runs for name in times)
    return {name: float(np.mean([times.get(name, 0.0) for times in runs])) for name in names}
