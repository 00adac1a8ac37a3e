"""Energy by rail in the part of the run that is chosen, and what a sample cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeprof.collectors.power.rails import Amount, chosen_rails
from edgeprof.dashboards.app.cut import CutData
from edgeprof.dashboards.app.figures.steps import steps_of
from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import Absent, DataTable, Outcome, Picture, absent, compact
from edgeprof.dashboards.report.text import clean, label
from edgeprof.dashboards.report.theme import BLUE, INK
from edgeprof.profiler.analysis import data as analysis
from edgeprof.profiler.analysis.energy import rails
from edgeprof.profiler.units import count, human

KEY, TITLE = "energy", "Energy by rail"


def build(data: CutData) -> Outcome:
    """A bar a rail; a rail that contains others is dark."""
    if not data.has("power"):
        return absent(data, KEY, TITLE, "power")
    found = sorted(_rails(data), key=lambda rail: -rail.joules)
    if not found:
        return Absent(KEY, TITLE, "no power rail was read at least twice in the part of the run that is chosen")
    chosen = chosen_rails(found)
    total, covered = sum(rail.joules for rail in chosen), min(rail.seconds for rail in chosen)
    names = " and ".join(clean(rail.name) for rail in chosen)
    samples = _samples(data)
    caption = f"{human(total, 'J')} in the {covered:.4g} s shown, {human(total / covered, 'W')} on average, on {names}"
    caption += ", the most complete account that counts nothing twice; dark bars contain others."
    if samples:
        caption += f" That is {human(total / samples, 'J')} for each of {count(round(samples, 1))} samples."
    rows = [
        [
            clean(rail.name),
            clean(rail.source),
            human(rail.joules, "J"),
            human(rail.joules / rail.seconds, "W"),
            "yes" if rail.total else "no",
            "yes" if rail in chosen else "no",
        ]
        for rail in found
    ]
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_figure(found),
        caption=caption,
        label="Bars of energy by rail.",
        limits=_limits(data, samples),
        table=DataTable(("Rail", "Source", "Energy", "Mean power", "Contains others", "Counted"), rows),
    )


def _limits(data: CutData, samples: float | None) -> list[str]:
    limits = ["A sensor sees its own rail only: what it does not feed (often the storage) is not in here."]
    if samples is None:
        limits.append("Energy a sample is not known: no step in the time shown says how many samples it had.")
    elif data.cut.window is not None:
        limits.append("A step that lies only partly in the time shown counts with that part of its samples.")
    return limits


def _rails(data: CutData) -> list[Amount]:
    begin, end = (data.start_ns + round(edge * 1e9) for edge in data.window)
    manifest = {**data.manifest, "run": {**data.manifest["run"], "start_ns": begin, "end_ns": end}}
    return rails(analysis.RunData(manifest, lambda name: data.rows(name) if data.has(name) else None))


def _samples(data: CutData) -> float | None:
    """Samples of the steps in the window, of each step by the share of it that lies inside; None: not known."""
    if not data.has("steps"):
        return None
    steps, (begin, end) = steps_of(data), data.window
    inside = np.clip(np.minimum(steps.end, end) - np.maximum(steps.start, begin), 0, None)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(steps.length > 0, inside / steps.length, 0.0)
    total = float(np.nansum(steps.samples * share))
    return total if total > 0 else None


def cumulative(data: CutData) -> tuple[Floats, Floats, str] | None:
    """Energy used so far on the rails that count, at the moments of the first of them; and the rails' names."""
    chosen = chosen_rails(_rails(data))
    time, names, sources = data.number("power", "time_ns"), data.text("power", "rail"), data.text("power", "source")
    moments: Floats | None = None
    total: Floats | None = None
    for rail in chosen:
        mine = names.is_(rail.name) & sources.is_(rail.source)
        at, used = _used(time[mine], data.number("power", "power")[mine], data.number("power", "energy")[mine])
        if len(at) < 2:
            continue
        if moments is None or total is None:
            moments, total = at, used
        else:
            total = total + np.interp(moments, at, used)
    if moments is None or total is None:
        return None
    return moments, total, " and ".join(rail.name for rail in chosen)


def _used(time: Floats, power: Floats, energy: Floats) -> tuple[Floats, Floats]:
    counted = np.isfinite(energy).any()
    values = energy if counted else power
    known = np.isfinite(values)
    time, values = time[known], values[known]
    if counted or len(time) < 2:
        return time, values
    return time, np.r_[0.0, np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(time))]


def _figure(found: list[Amount]) -> Any:
    import plotly.graph_objects as go

    shown = found[:16][::-1]
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=[label(rail.name) for rail in shown],
            x=compact([rail.joules for rail in shown]),
            marker={"color": [INK if rail.total else BLUE for rail in shown]},
            hovertemplate="%{x:.4s}J<extra></extra>",
        )
    )
    figure.update_xaxes(title="energy", rangemode="tozero", tickformat="~s", ticksuffix="J")
    figure.update_yaxes(type="category")
    figure.update_layout(
        height=110 + 32 * len(shown), bargap=0.35, showlegend=False, margin={"l": 110, "r": 16, "t": 10, "b": 50}
    )
    return figure
