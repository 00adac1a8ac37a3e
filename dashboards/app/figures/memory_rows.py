"""Rows of the memory page: who holds memory, faults, reclaim, refaults, swapping and pressure over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.downsample import Floats, rate
from edgeprof.dashboards.report.figures.base import BYTES, Absent, absent
from edgeprof.dashboards.report.figures.series import Series, line, process_rate
from edgeprof.dashboards.report.figures.timeline.pressure import pressure
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.text import clean
from edgeprof.dashboards.report.theme import BLUE, CYCLE, GREEN, GREY, ORANGE, PURPLE, VERMILLION

PROCESSES = 6
_BYTES_A_SECOND = {**BYTES, "rangemode": "tozero", "ticksuffix": "B/s"}
_A_SECOND = {"rangemode": "tozero", "tickformat": "~s", "ticksuffix": "/s"}
_NOTHING = {"range": [0, 1], "tickvals": [0]}
"""An axis for what stayed at 0: plotly would number it in thousandths."""


def page_bytes(data: RunData) -> int | None:
    """Bytes of a page on the run's machine, where the manifest says it."""
    host = data.manifest.get("host")
    size = host.get("page_bytes") if isinstance(host, dict) else None
    return size if isinstance(size, int) and 0 < size <= 1 << 24 else None


def processes_row(data: RunData) -> Row | Absent:
    """Resident set size of the processes that hold most."""
    pid, rss, time = data.number("process", "pid"), data.number("process", "rss"), data.number("process", "time_ns")
    known = np.isfinite(rss) & np.isfinite(pid) & np.isfinite(time)
    if not known.any():
        return absent(data, "memory-processes", "Memory by process", "process")
    pids, which = np.unique(pid[known], return_inverse=True)
    peak = np.zeros(len(pids))
    np.maximum.at(peak, which, rss[known])
    commands = data.text("process", "comm")
    series = []
    for i, colour in zip(np.argsort(-peak, kind="stable")[:PROCESSES], CYCLE, strict=False):
        mine = np.flatnonzero(known & (pid == pids[i]))
        code = commands.codes[mine[-1]]
        name = f"{clean(commands.names[code]) if code >= 0 else 'process'} {int(pids[i])}"
        series.append(Series(name, time[mine], rss[mine], "bytes", colour))
    left = len(pids) - len(series)
    return Row(
        title="Memory by process",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={**BYTES, "rangemode": "tozero"},
        caption="Resident set size of each process of the run."
        + (f" {left} smaller ones are left out." if left else ""),
        limits=("A page that several processes share counts in each of them.",),
        series=series,
    )


def major_faults_row(data: RunData) -> Row | Absent:
    """Faults that waited for storage."""
    return _faults(data, "Major faults", "majflt", VERMILLION, "Page faults of the run that waited for storage")


def minor_faults_row(data: RunData) -> Row | Absent:
    """Faults served from memory."""
    return _faults(data, "Minor faults", "minflt", BLUE, "Page faults of the run that memory alone could serve")


def _faults(data: RunData, title: str, column: str, colour: str, what: str) -> Row | Absent:
    moments, rates, whose = faults(data, column)
    series = Series("this run", moments, rates, "faults/s", colour)
    if series.empty():
        return absent(data, f"memory-{column}", title, "cgroup" if data.has("process") else "process")
    return Row(
        title=title,
        draw=lambda axis, legend: [line(series, axis, legend)],
        axis=_A_SECOND,
        caption=f"{what}, a second; by {whose}.",
        series=[series],
        weight=0.7,
    )


def faults(data: RunData, column: str) -> tuple[Floats, Floats, str]:
    """Faults a second over time and whose account they are: the control group's, else the processes'."""
    counter = fault_counter(data, column)
    if counter is not None:
        return *rate(*counter), "its control group"
    return *process_rate(data, [column]), "the sum over its processes"


def fault_counter(data: RunData, column: str) -> tuple[Floats, Floats] | None:
    """The control group's cumulative count of ``majflt`` or ``minflt``; None where it has none."""
    for prefix in ("stat_total_", "stat_"):  # with groups below it, where version 1 counts those apart
        if data.known("cgroup", f"{prefix}pgfault") and data.known("cgroup", f"{prefix}pgmajfault"):
            majors = data.number("cgroup", f"{prefix}pgmajfault")
            count = majors if column == "majflt" else data.number("cgroup", f"{prefix}pgfault") - majors
            known = np.isfinite(count)
            return data.number("cgroup", "time_ns")[known], count[known]
    return None


def reclaim_row(data: RunData) -> Row | Absent:
    """Pages that the kernel looked at and took back, by whom."""
    parts = (
        ("looked at by kswapd", ("pgscan_kswapd",), GREY, "dot"),
        ("taken back by kswapd", ("pgsteal_kswapd",), BLUE, "solid"),
        ("looked at by tasks", ("pgscan_direct",), ORANGE, "dot"),
        ("taken back by tasks", ("pgsteal_direct",), VERMILLION, "solid"),
    )
    return _pages(
        data,
        "Reclaim",
        parts,
        "Memory of the whole machine that the kernel looked at to free it, and took back. What tasks free themselves "
        "(direct reclaim) they wait for.",
    )


def refaults_row(data: RunData) -> Row | Absent:
    """Pages that came back soon after they were taken."""
    parts = (
        ("file", ("workingset_refault_file", "workingset_refault"), GREEN, "solid"),
        ("anonymous", ("workingset_refault_anon",), PURPLE, "solid"),
    )
    return _pages(
        data,
        "Refaults",
        parts,
        "Memory that was needed again soon after it had been taken back: the working set did not fit.",
    )


def swap_row(data: RunData) -> Row | None:
    """Swapping, where there was any."""
    parts = (("in", ("pswpin",), BLUE, "solid"), ("out", ("pswpout",), VERMILLION, "solid"))
    row = _pages(data, "Swapping", parts, "Memory of the whole machine that was swapped in and out.")
    moved = isinstance(row, Row) and any(np.nanmax(series.values) > 0 for series in row.series)
    return row if moved and isinstance(row, Row) else None


def _pages(
    data: RunData, title: str, parts: Sequence[tuple[str, Sequence[str], str, str]], caption: str
) -> Row | Absent:
    """Rates of page counters: of the run's control group where it has them, else of the machine (/proc/vmstat)."""
    size = page_bytes(data)
    factor, unit = (float(size), "bytes/s") if size else (1.0, "pages/s")
    for table, prefixes, whose in (
        ("cgroup", ("stat_total_", "stat_"), "the run's control group"),
        ("system", ("vmstat_",), "the whole machine"),
    ):
        series = []
        for name, columns, colour, dash in parts:
            column = next((p + c for p in prefixes for c in columns if data.known(table, p + c)), None)
            if column is not None:
                values = data.number(table, column)
                known = np.isfinite(values)
                moments, rates = rate(data.number(table, "time_ns")[known], values[known] * factor)
                series.append(Series(name, moments, rates, unit, colour, dash))
        series = [item for item in series if not item.empty()]
        if series:
            nothing = not any(np.nanmax(item.values) for item in series)
            caption += f" Counted for {whose}." + (" There was none in the time shown." if nothing else "")
            axis = _NOTHING if nothing else _BYTES_A_SECOND if size else _A_SECOND
            return _lines(title, series, axis, caption)
    reason, remedy = data.absence("system")
    if data.has("system"):
        reason, remedy = "this kernel does not count it", ""
    return Absent(f"memory-{title.lower()}", title, reason, remedy)


def pressure_row(data: RunData) -> Row | Absent:
    """Time that tasks waited for memory."""
    for table, whose in (("cgroup", "the run's control group"), ("system", "the whole machine")):
        series = [item for item in pressure(data, table) if item.name.startswith("memory")]
        if series:
            caption = (
                f"Share of time in which at least one task (some) or all tasks (full) of {whose} waited for memory."
            )
            return _lines("Memory pressure (PSI)", series, {"tickformat": "~%", "rangemode": "tozero"}, caption)
    reason, remedy = data.absence("system")
    if data.has("system"):
        reason = "this kernel gives no pressure stall information"
        remedy = "use a kernel built with CONFIG_PSI, booted with psi=1"
    return Absent("memory-pressure", "Memory pressure (PSI)", reason, remedy)


def _lines(title: str, series: Sequence[Series], axis: dict[str, Any], caption: str) -> Row:
    return Row(
        title=title,
        draw=lambda name, legend: [line(item, name, legend) for item in series],
        axis=axis,
        caption=caption,
        series=series,
        weight=0.8,
    )
