"""Timeline rows: power by rail, temperature by zone, and use of accelerators."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprof.dashboards.report.figures.base import BYTES, Absent, absent
from edgeprof.dashboards.report.figures.series import Series, line
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.dashboards.report.text import clean
from edgeprof.dashboards.report.theme import CYCLE, INK

if TYPE_CHECKING:
    from edgeprof.dashboards.report.data import RunData

RAILS = 6


def by_name(data: RunData, table: str, by: str, value: str, unit: str) -> list[Series]:
    """One series for each text of a column, those with the greatest mean first."""
    names, time, values = data.text(table, by), data.number(table, "time_ns"), data.number(table, value)
    found = []
    for name in names.present():
        mine = names.is_(name) & np.isfinite(values)
        if mine.any():
            found.append(Series(clean(name), time[mine], values[mine], unit, INK))
    found.sort(key=lambda item: -float(item.values.mean()))
    return found


def coloured(series: list[Series], bold: frozenset[str] = frozenset()) -> list[Series]:
    """The first series in the palette's colours; those named in ``bold`` are dark."""
    colours = iter(CYCLE)
    return [
        Series(item.name, item.time, item.values, item.unit, INK if item.name in bold else next(colours, CYCLE[-1]))
        for item in series[:RAILS]
    ]


def power_row(data: RunData) -> Row | Absent:
    """Power by rail; a rail that contains others is dark."""
    found = by_name(data, "power", "rail", "power", "W")
    if not found:
        return absent(data, "timeline-power", "Power", "power")
    rails, total = data.text("power", "rail"), data.number("power", "total")
    whole = frozenset(clean(name) for name in rails.present() if (total[rails.is_(name)] == 1).any())
    series = coloured(found, whole)
    left = len(found) - len(series)
    return Row(
        title="Power",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={"rangemode": "tozero", "ticksuffix": " W"},
        caption="Power of each rail that a sensor reports; a dark line already contains others."
        + (f" {left} smaller rails are left out." if left else ""),
        limits=("A sensor sees its own rail only: what it does not feed (often the storage) is not in here.",),
        series=series,
    )


def thermal_row(data: RunData) -> Row | None:
    """Temperatures, on machines that report them."""
    found = by_name(data, "thermal", "zone", "temperature", "°C")
    if not found:
        return None
    series = coloured(found)
    left = len(found) - len(series)
    return Row(
        title="Temperature",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={"ticksuffix": " °C"},
        caption="Thermal zones of the board." + (f" {left} cooler zones are left out." if left else ""),
        series=series,
    )


def gpu_row(data: RunData) -> Row | None:
    """Use of the GPUs, on machines that have one."""
    return gpu_metric(data, "utilization", "GPU use", "share", {"tickformat": ".0%", "rangemode": "tozero"})


def gpu_memory_row(data: RunData) -> Row | None:
    """Memory of the GPUs in use."""
    return gpu_metric(data, "memory_used", "GPU memory", "bytes", {**BYTES, "rangemode": "tozero"})


def gpu_metric(data: RunData, metric: str, title: str, unit: str, axis: dict[str, object]) -> Row | None:
    """One metric of the table ``gpu``, a line for each device."""
    if not data.has("gpu"):
        return None
    devices, metrics, units = data.text("gpu", "device"), data.text("gpu", "metric"), data.text("gpu", "unit")
    time, values = data.number("gpu", "time_ns"), data.number("gpu", "value")
    percent = units.is_("percent") | units.is_("%")
    values = np.where(percent, values / 100, values)
    series = []
    for device, colour in zip(devices.present(), CYCLE, strict=False):
        mine = devices.is_(device) & metrics.is_(metric) & np.isfinite(values)
        if mine.any():
            series.append(Series(clean(device), time[mine], values[mine], unit, colour))
    if not series:
        return None
    return Row(
        title=title,
        draw=lambda name, legend: [line(item, name, legend) for item in series],
        axis=dict(axis),
        caption=f"{title} as the driver reports it.",
        series=series,
    )
