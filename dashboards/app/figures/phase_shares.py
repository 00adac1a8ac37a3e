"""What each phase took of the time, the processors, the storage, the faults and the energy, in the part that is chosen.

Sampled counters are divided at the borders of phases by linear interpolation, as `profiler.analysis.by_phase` does;
where a phase's intervals are mostly shorter than samples are apart, that would only spread the counter evenly, so such
a value is unknown.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.dashboards.app.cut import CutData
from edgeprof.dashboards.app.figures.energy import cumulative
from edgeprof.dashboards.app.figures.memory_rows import fault_counter
from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.base import SECONDS, Absent, DataTable, Outcome, Picture, absent, compact
from edgeprof.dashboards.report.figures.phasing import MainPhases, main_phases, phase_colours
from edgeprof.dashboards.report.figures.requests import of_run
from edgeprof.dashboards.report.figures.series import sum_by_time
from edgeprof.dashboards.report.text import clean, label
from edgeprof.profiler.units import count, human, seconds

KEY, TITLE = "phase-shares", "Phases"
FAULTS_KEY, FAULTS_TITLE = "phase-faults", "Faults by phase"
ENERGY_KEY, ENERGY_TITLE = "phase-energy", "Energy by phase"
MOST = 16
_MIXED = "not known: its intervals are mostly shorter than the samples are apart"


@dataclass(frozen=True)
class Counter:
    """A cumulative counter: moments, values, unit."""

    time: Floats
    values: Floats
    unit: str


def build(data: CutData) -> Outcome:
    """Bars of the time in each phase, and a table of what each took."""
    phases = main_phases(data)
    if phases is None:
        return absent(data, KEY, TITLE, "phases")
    spent = phases.time_by_name()
    if not spent:
        return Absent(KEY, TITLE, "no phase lasted any time in the part of the run that is chosen")
    names = list(spent)[:MOST]
    begin, end = data.window
    outside = max(0.0, (end - begin) - sum(spent.values()))
    return Picture(
        key=KEY,
        title=TITLE,
        figure=_bars(names, [spent[name] for name in names], "time", SECONDS),
        caption="Time of the main thread in each phase, without the phases inside it; "
        f"{human(outside / (end - begin), 'share')} of the time shown was outside all phases. The table adds what the "
        "run read, wrote, computed and waited for in each.",
        label="Bars of the time in " + ", ".join(clean(name) for name in names) + ".",
        limits=[f"{len(spent) - MOST} shorter phases are left out."] if len(spent) > MOST else [],
        table=_table(data, phases, names),
    )


def _table(data: CutData, phases: MainPhases, names: list[str]) -> DataTable:
    counters = {
        "CPU time": _cpu(data),
        "Minor faults": _faults(data, "minflt"),
        "Major faults": _faults(data, "majflt"),
    }
    heads = [
        "Phase",
        "Time",
        "Times",
        "Read",
        "Written",
        *(name for name, item in counters.items() if item is not None),
    ]
    spent = phases.time_by_name()
    rows = []
    for name in names:
        code = phases.names.index(name)
        row = [clean(name), seconds(spent[name]), count(int((phases.code == code).sum()))]
        row += [_requested(data, name, operation) for operation in ("read", "write")]
        row += [_shown(grown_in(phases, name, item), item.unit) for item in counters.values() if item is not None]
        rows.append(row)
    return DataTable(heads, rows, "Bytes read and written are those of block requests queued in the phase.")


def _shown(value: float | None, unit: str) -> str:
    return _MIXED if value is None else human(value, unit)


def _requested(data: CutData, phase: str, operation: str) -> str:
    if not data.whole.has("block_io"):
        return "not captured"
    mine = of_run(data, operation).mask & data.text("block_io", "phase").is_(phase)
    return human(float(np.nansum(data.number("block_io", "bytes")[mine])), "bytes")


def _cpu(data: CutData) -> Counter | None:
    if data.known("cgroup", "cpu_usage"):
        return _known(data.number("cgroup", "time_ns"), data.number("cgroup", "cpu_usage"), "s")
    return None


def _faults(data: CutData, column: str) -> Counter | None:
    found = fault_counter(data, column)
    if found is not None:
        return _known(*found, "count")
    moments, total = sum_by_time(data.number("process", "time_ns"), data.number("process", column))
    return _known(moments, np.maximum.accumulate(np.nan_to_num(total)), "count") if np.isfinite(total).any() else None


def _known(time: Floats, values: Floats, unit: str) -> Counter | None:
    known = np.isfinite(values) & np.isfinite(time)
    return Counter(time[known], values[known], unit) if known.sum() > 1 else None


def grown_in(phases: MainPhases, name: str, counter: Counter) -> float | None:
    """How much a counter grew while a phase was the innermost one; None where samples are too far apart to tell."""
    starts, ends, code = phases.segments
    mine = code == phases.names.index(name)
    lengths = (ends - starts)[mine]
    apart = float(np.median(np.diff(counter.time)))
    if float(lengths[lengths >= apart].sum()) < 0.5 * float(lengths.sum()):
        return None
    first, last = (np.interp(edge[mine], counter.time, counter.values) for edge in (starts, ends))
    return float((last - first).sum())


def faults(data: CutData) -> Outcome:
    """Major faults of each phase; minor ones in the table."""
    phases = main_phases(data)
    if phases is None:
        return absent(data, FAULTS_KEY, FAULTS_TITLE, "phases")
    major, minor = _faults(data, "majflt"), _faults(data, "minflt")
    if major is None:
        return absent(data, FAULTS_KEY, FAULTS_TITLE, "process")
    counters = {"Major faults": major} | ({} if minor is None else {"Minor faults": minor})
    values = {name: [grown_in(phases, name, item) for item in counters.values()] for name in phases.time_by_name()}
    rows = [[clean(name), *(_shown(value, "count") for value in found)] for name, found in values.items()]
    table = DataTable(("Phase", *counters), rows)
    drawn = {name: found[0] for name, found in values.items() if found[0] is not None}
    if not drawn:
        return Absent(
            FAULTS_KEY,
            FAULTS_TITLE,
            "the phases are mostly shorter than the samples are apart",
            "sample faster with --rate",
        )
    return Picture(
        key=FAULTS_KEY,
        title=FAULTS_TITLE,
        figure=_bars(
            list(drawn)[:MOST], list(drawn.values())[:MOST], "major faults", {"tickformat": "~s", "ticksuffix": ""}
        ),
        caption="Page faults that waited for storage while each phase was the innermost one; minor ones are in the "
        "table.",
        label="Bars of major faults by phase.",
        limits=[
            "Counters are sampled and divided at the borders of phases by linear interpolation.",
            *_unknown(values, drawn),
        ],
        table=table,
    )


def energy(data: CutData) -> Outcome:
    """Energy of each phase on the most complete rails."""
    phases = main_phases(data)
    if not data.has("power"):
        return absent(data, ENERGY_KEY, ENERGY_TITLE, "power")
    if phases is None:
        return absent(data, ENERGY_KEY, ENERGY_TITLE, "phases")
    found = cumulative(data)
    if found is None:
        return Absent(
            ENERGY_KEY, ENERGY_TITLE, "no power rail was read at least twice in the part of the run that is chosen"
        )
    time, joules, names = found
    counter, spent = Counter(time, joules, "J"), phases.time_by_name()
    values = {name: grown_in(phases, name, counter) for name in spent}
    drawn = {name: value for name, value in values.items() if value is not None}
    if not drawn:
        return Absent(
            ENERGY_KEY,
            ENERGY_TITLE,
            "the phases are mostly shorter than the samples are apart",
            "sample faster with --rate",
        )
    rows = [
        [
            clean(name),
            _shown(value, "J"),
            human(None if value is None else value / spent[name], "W"),
            seconds(spent[name]),
        ]
        for name, value in values.items()
    ]
    return Picture(
        key=ENERGY_KEY,
        title=ENERGY_TITLE,
        figure=_bars(
            list(drawn)[:MOST], list(drawn.values())[:MOST], "energy", {"tickformat": "~s", "ticksuffix": "J"}
        ),
        caption=f"Energy while each phase was the innermost one, on {clean(names)}.",
        label="Bars of energy by phase.",
        limits=[
            "Power is sampled and divided at the borders of phases by linear interpolation.",
            *_unknown(values, drawn),
        ],
        table=DataTable(("Phase", "Energy", "Mean power", "Time"), rows),
    )


def _unknown(names: Iterable[str], known: Container[str]) -> list[str]:
    """A sentence on the phases that are not drawn."""
    left = [clean(name) for name in names if name not in known]
    return [f"Not known for {', '.join(left)}: they are mostly shorter than the samples are apart."] if left else []


def _bars(names: list[str], values: list[float], title: str, axis: dict[str, str]) -> Any:
    import plotly.graph_objects as go

    colours = phase_colours(names)
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=[label(name) for name in names][::-1],
            x=compact(values[::-1]),
            marker={"color": [colours[name] for name in names][::-1]},
            hovertemplate="%{x:.3s}" + axis["ticksuffix"] + "<extra></extra>",
        )
    )
    figure.update_xaxes(title=title, rangemode="tozero", **axis)
    figure.update_yaxes(type="category")
    figure.update_layout(
        height=110 + 30 * len(names), bargap=0.35, showlegend=False, margin={"l": 110, "r": 16, "t": 10, "b": 50}
    )
    return figure
