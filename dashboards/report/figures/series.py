"""Series over a run's time: sums and rates over its processes, and lines to draw them with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprof.dashboards.report import downsample
from edgeprof.dashboards.report.downsample import Floats, Ints
from edgeprof.dashboards.report.figures.base import compact
from edgeprof.dashboards.report.text import label
from edgeprof.dashboards.report.theme import faint
from edgeprof.profiler.units import human

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from edgeprof.dashboards.report.data import RunData


@dataclass(frozen=True)
class Series:
    """Values over time (seconds since start), as sampled; ``unit`` as in `units.human`."""

    name: str
    time: Floats
    values: Floats
    unit: str
    colour: str
    dash: str = "solid"

    def empty(self) -> bool:
        """Whether no value is known."""
        return not np.isfinite(self.values).any()

    def summary(self) -> list[str]:
        """Name, least, mean, greatest and last value, for a table."""
        known = self.values[np.isfinite(self.values)]
        figures = (known.min(), known.mean(), known.max(), known[-1])
        return [self.name, *(human(float(value), self.unit) for value in figures)]


SUMMARY_COLUMNS = ("Series", "Least", "Mean", "Greatest", "Last")

_HOVER = {"bytes": "%{y:.3s}B", "bytes/s": "%{y:.3s}B/s", "share": "%{y:.1%}", "W": "%{y:.3~f} W", "°C": "%{y:.1f} °C"}


def hover(unit: str) -> str:
    """The hover text of a value; what names the series is the trace's name."""
    return _HOVER.get(unit, "%{y:.3~f} " + unit)


def line(series: Series, axis: str, legend: str) -> go.Scatter:
    """A thinned line through the known values: a source may be read more seldom than its table has rows."""
    import plotly.graph_objects as go

    known = np.isfinite(series.values)
    x, y = downsample.min_max(series.time[known], series.values[known])
    return go.Scatter(
        x=compact(x),
        y=compact(y),
        name=label(series.name),
        mode="lines" if len(x) > 1 else "markers",
        line={"color": series.colour, "width": 1.5, "dash": series.dash},
        yaxis=axis,
        legend=legend,
        hovertemplate=hover(series.unit),
    )


def stack(parts: Sequence[Series], axis: str, legend: str) -> list[go.Scatter]:
    """Areas on top of each other; all thinned at the same moments, those where their sum is least and greatest."""
    import plotly.graph_objects as go

    values = np.array([part.values for part in parts])
    known = np.isfinite(values).all(axis=0)
    rows = np.flatnonzero(known if known.any() else np.isfinite(values).any(axis=0))
    keep = rows[downsample.min_max_index(parts[0].time[rows], np.nansum(values[:, rows], axis=0))]
    return [
        go.Scatter(
            x=compact(part.time[keep]),
            y=compact(np.nan_to_num(part.values[keep])),
            name=label(part.name),
            mode="lines" if len(keep) > 1 else "markers",
            line={"color": part.colour, "width": 1},
            fillcolor=faint(part.colour, 0.45),
            stackgroup=axis,
            yaxis=axis,
            legend=legend,
            hovertemplate=hover(part.unit),
        )
        for part in parts
    ]


def by_time(time: Floats) -> tuple[Floats, Ints]:
    """The distinct moments of a table with several rows a moment, and each row's number among them."""
    moments, which = np.unique(time, return_inverse=True)
    return moments, which.astype(np.int64)


def sum_by_time(time: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Sum over the rows of each moment; a moment where nothing is known is NaN."""
    moments, which = by_time(time)
    known = np.isfinite(values)
    total = np.bincount(which[known], values[known], len(moments))
    seen = np.bincount(which[known], minlength=len(moments))
    return moments, np.where(seen > 0, total, np.nan)


def process_rate(data: RunData, columns: Sequence[str]) -> tuple[Floats, Floats]:
    """Rate per second of cumulative counters summed over the run's processes.

    Differences are taken within a process, so one that ends does not lower the sum; what a
    new process had used before its first sample counts in that sample.
    """
    time, pid = data.number("process", "time_ns"), data.number("process", "pid")
    counter = np.sum([data.number("process", name) for name in columns], axis=0)
    known = np.isfinite(counter)
    time, pid, counter = time[known], pid[known], counter[known]
    if not len(time):
        return np.empty(0), np.empty(0)
    order = np.lexsort((time, pid))
    same = np.r_[False, pid[order][1:] == pid[order][:-1]]
    steps = np.diff(counter[order], prepend=0.0)
    growth = np.where(same, steps, counter[order])
    moments, total = sum_by_time(time[order], np.maximum(growth, 0.0))
    steps_s = np.diff(moments)
    with np.errstate(divide="ignore", invalid="ignore"):
        return moments[1:], np.where(steps_s > 0, total[1:] / steps_s, np.nan)
