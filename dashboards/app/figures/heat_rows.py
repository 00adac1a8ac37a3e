"""Rows of the energy page beside power and temperature: clocks, and what slows the processors down."""

from __future__ import annotations

import numpy as np

from edgeprof.dashboards.report.data import RunData
from edgeprof.dashboards.report.figures.base import Absent, absent
from edgeprof.dashboards.report.figures.series import Series, line
from edgeprof.dashboards.report.figures.timeline.power import by_name, coloured, gpu_metric
from edgeprof.dashboards.report.figures.timeline.row import Row
from edgeprof.profiler.analysis.energy import NOT_THROTTLING


def clocks_row(data: RunData) -> Row | Absent:
    """Clock of each domain; domains whose clocks are alike are one line."""
    found = by_name(data, "clocks", "domain", "frequency", "Hz")
    if not found:
        return absent(data, "energy-clocks", "Clocks", "clocks")
    series = coloured(_alike(found))
    return Row(
        title="Clocks",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={"tickformat": "~s", "ticksuffix": "Hz", "rangemode": "tozero"},
        caption="Clock of each domain that the machine shows; those with the same clock all along share a line.",
        series=series,
    )


def _alike(series: list[Series]) -> list[Series]:
    """One series for those with equal values, called after the first and their number."""
    groups: dict[bytes, list[Series]] = {}
    for item in series:
        groups.setdefault(item.values.tobytes(), []).append(item)
    found = []
    for members in groups.values():
        first, *others = sorted(members, key=lambda item: item.name)
        name = f"{first.name} and {len(others)} more" if others else first.name
        found.append(Series(name, first.time, first.values, first.unit, first.colour))
    return found


def throttling_row(data: RunData) -> Row | Absent:
    """State of each cooling device that slows a processor."""
    found = [
        item for item in by_name(data, "thermal", "zone", "throttling", "steps") if not NOT_THROTTLING.search(item.name)
    ]
    if not found:
        reason, remedy = data.absence("thermal")
        if data.has("thermal"):
            reason, remedy = "this machine shows no cooling device that slows a processor", ""
        return Absent("energy-throttling", "Throttling", reason, remedy)
    series = coloured(found)
    active = any(np.nanmax(item.values) > 0 for item in series)
    return Row(
        title="Throttling",
        draw=lambda axis, legend: [line(item, axis, legend) for item in series],
        axis={"rangemode": "tozero", "tickformat": "~f"},
        caption="State of each cooling device that slows a processor: above 0 it does."
        + ("" if active else " None did in the time shown."),
        series=series,
        weight=0.7,
    )


def gpu_power_row(data: RunData) -> Row | None:
    """Power of the GPUs, on machines whose driver tells it."""
    return gpu_metric(data, "power", "GPU power", "W", {"rangemode": "tozero", "ticksuffix": " W"})
