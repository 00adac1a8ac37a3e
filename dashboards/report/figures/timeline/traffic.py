"""Timeline rows: bytes read and written a second, by device and by the run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from edgeprof.dashboards.report.downsample import Floats, rate
from edgeprof.dashboards.report.figures.base import BYTES, Absent, absent
from edgeprof.dashboards.report.figures.series import Series, line, process_rate, sum_by_time
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.text import clean
from edgeprof.dashboards.report.theme import GREEN, GREY, INK, ORANGE, PURPLE

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

DEVICES = 4
_PARTITION = re.compile(r"p?\d+")
_DEVICE_COLOURS = (ORANGE, PURPLE, GREEN, GREY)
_NETWORK = "Network file systems pass the block layer by: their traffic is not in here."
_BLKIO = "Control groups of version 1 leave out buffered writes: the kernel writes them back later, on no account."
_PROCESS_WRITES = "A process is charged for a buffered write when it dirties the page, not when the device is written."


def read_row(data: RunData) -> Row | Absent:
    """Bytes read from storage."""
    return _row(data, "read")


def write_row(data: RunData) -> Row | Absent:
    """Bytes written to storage."""
    return _row(data, "write")


def _row(data: RunData, way: str) -> Row | Absent:
    title = f"Storage {way}s"
    run, source = _of_run(data, way)
    series = [*devices(data, way), *run]
    if not series:
        return absent(data, f"timeline-{way}", title, "disk")
    limits = [_NETWORK]
    if way == "write" and source == "cgroup" and str(_cgroup_mode(data)) in ("v1", "hybrid"):
        limits.append(_BLKIO)
    if way == "write" and source == "process":
        limits.append(_PROCESS_WRITES)
    by = {"cgroup": "its control group", "process": "its processes", "": "nobody"}[source]
    return Row(
        title=title,
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={**BYTES, "rangemode": "tozero", "ticksuffix": "B/s"},
        caption=f"Bytes {'read from' if way == 'read' else 'written to'} each device, by anyone, "
        + (f"and by the run as counted by {by}." if source else "(the run's own share was not counted)."),
        limits=limits if way == "write" else limits[:1],
        series=series,
    )


def _cgroup_mode(data: RunData) -> object:
    cgroup = data.manifest.get("cgroup")
    return cgroup.get("mode") if isinstance(cgroup, dict) else None


def devices(data: RunData, way: str) -> list[Series]:
    """Bytes per second of the devices that moved most, from /proc/diskstats."""
    column, time = data.number("disk", f"{way}_bytes"), data.number("disk", "time_ns")
    names = data.text("disk", "device")
    found: list[tuple[float, str, Floats, Floats]] = []
    for name in whole_devices(names.present()):
        mine = names.is_(name)
        moments, rates = rate(time[mine], column[mine])
        moved = float(np.nanmax(column[mine], initial=0) - np.nanmin(column[mine], initial=np.inf))
        if np.isfinite(rates).any() and moved > 0:
            found.append((moved, name, moments, rates))
    found.sort(key=lambda item: -item[0])
    return [
        Series(clean(name), moments, rates, "bytes/s", colour)
        for (_, name, moments, rates), colour in zip(found[:DEVICES], _DEVICE_COLOURS, strict=False)
    ]


def whole_devices(names: list[str]) -> list[str]:
    """Devices without the partitions of those that are listed themselves (nvme0n1p2 beside nvme0n1)."""

    def is_partition(name: str) -> bool:
        return any(
            name.startswith(other) and _PARTITION.fullmatch(name[len(other) :]) for other in names if other != name
        )

    return [name for name in names if not is_partition(name)]


def _of_run(data: RunData, way: str) -> tuple[list[Series], str]:
    column = f"{way}_bytes"
    if data.known("cgroup_io", column):
        moments, total = sum_by_time(data.number("cgroup_io", "time_ns"), data.number("cgroup_io", column))
        moments, rates = rate(moments, total)
        source = "cgroup"
    else:
        moments, rates = process_rate(data, [column])
        source = "process"
    run = Series("this run", moments, rates, "bytes/s", INK)
    return ([], "") if run.empty() else ([run], source)
