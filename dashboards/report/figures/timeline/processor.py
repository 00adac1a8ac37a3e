"""Timeline row: CPUs kept busy, by the run and by the whole machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprof.dashboards.report.downsample import rate
from edgeprof.dashboards.report.figures.base import Absent, absent
from edgeprof.dashboards.report.figures.series import Series, line, process_rate
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.theme import BLUE, GREY, PURPLE, VERMILLION

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")


def row(data: RunData) -> Row | Absent:
    """Busy CPUs: 1.0 is one CPU busy all the time."""
    series = [item for item in (_machine(data), _waiting(data), _run(data), _profiler(data)) if not item.empty()]
    if not series:
        return absent(data, "timeline-cpu", "CPU", "system")
    cpus = data.manifest.get("host", {}).get("cpus")
    of = f" of {cpus}" if isinstance(cpus, int) else ""
    return Row(
        title="CPU",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={"rangemode": "tozero", "ticksuffix": " CPU"},
        caption=f"CPUs kept busy{of}; waiting for I/O is idle time with a request outstanding.",
        series=series,
    )


def _machine(data: RunData) -> Series:
    time = data.number("system", "time_ns")
    known = [f"cpu_{name}" for name in _BUSY if data.known("system", f"cpu_{name}")]
    busy = np.sum([data.number("system", name) for name in known], axis=0) if known else np.full(len(time), np.nan)
    return Series("whole machine", *rate(time, busy), "CPU", GREY)


def _waiting(data: RunData) -> Series:
    time = data.number("system", "time_ns")
    return Series("waiting for I/O", *rate(time, data.number("system", "cpu_iowait")), "CPU", VERMILLION)


def _run(data: RunData) -> Series:
    if data.known("cgroup", "cpu_usage"):
        return Series(
            "this run", *rate(data.number("cgroup", "time_ns"), data.number("cgroup", "cpu_usage")), "CPU", BLUE
        )
    return Series("this run", *process_rate(data, ["utime", "stime"]), "CPU", BLUE)


def _profiler(data: RunData) -> Series:
    used = data.number("self", "utime") + data.number("self", "stime")
    return Series("edgeprof itself", *rate(data.number("self", "time_ns"), used), "CPU", PURPLE, "dot")
