"""Thins series to what a screen can show, before they are drawn.

A line keeps the lowest and highest sample of each of a fixed number of time bins, so a
short peak stays visible however long the run (the min/max half of M4: Jugel et al.,
"M4: A Visualization-Oriented Time Series Data Aggregation", VLDB 2014).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BINS = 600
"""Bins of a line: one for each pixel column or two of a usual page."""


def min_max(x: Floats, y: Floats, bins: int = BINS) -> tuple[Floats, Floats]:
    """Thin one series; at most ``2 * bins + 2`` points, all of them samples of the series.

    A stretch without samples (see `with_gaps`) or of NaN stays a break in the line.
    """
    x, y = with_gaps(x, y)
    keep = min_max_index(x, y, bins)
    return x[keep], y[keep]


def min_max_index(x: Floats, y: Floats, bins: int = BINS) -> Ints:
    """Positions of the lowest and highest value of each equal-width bin of ``x``, and both ends.

    Args:
        x: ascending.
        y: same length; NaN counts only where its bin holds nothing else.
        bins: number of bins over the range of ``x``.
    """
    n = len(x)
    if n <= 2 * bins + 2:
        return np.arange(n)
    width = (x[-1] - x[0]) / bins
    which = np.minimum((x - x[0]) / width, bins - 1).astype(np.int64) if width > 0 else np.zeros(n, np.int64)
    order = np.lexsort((y, which))  # within a bin by value, NaN last
    sorted_bins = which[order]
    first = np.flatnonzero(np.r_[True, sorted_bins[1:] != sorted_bins[:-1]])
    finite = np.add.reduceat(np.isfinite(y[order]).astype(np.int64), first)
    last = first + np.maximum(finite - 1, 0)
    return np.unique(np.r_[0, order[first], order[last], n - 1])


def with_gaps(x: Floats, y: Floats, factor: float = 6.0) -> tuple[Floats, Floats]:
    """Insert a NaN where two samples are ``factor`` times further apart than usual.

    A collector that stopped, or that captured windows of time only, must not look like a straight line.
    """
    if len(x) < 4:
        return x, y
    steps = np.diff(x)
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > factor * usual) if usual > 0 else np.empty(0, np.int64)
    if not len(wide):
        return x, y
    return np.insert(x, wide + 1, (x[wide] + x[wide + 1]) / 2), np.insert(y, wide + 1, np.nan)


def rate(x: Floats, counter: Floats) -> tuple[Floats, Floats]:
    """Difference of a cumulative counter per second, at the end of each interval.

    A counter that went down (a reset, a process that left a sum) gives NaN, never a negative rate.
    """
    known = np.isfinite(counter)
    x, counter = x[known], counter[known]
    steps = np.diff(x)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(steps > 0, np.diff(counter) / steps, np.nan)
    return x[1:], np.where(rates >= 0, rates, np.nan)


def covered(starts: Floats, ends: Floats, at: Floats) -> Floats:
    """Time covered by a set of intervals from the beginning up to each moment of ``at`` (overlaps count twice)."""
    starts, ends = np.sort(starts), np.sort(ends)
    return _passed(starts, at) - _passed(ends, at)


def _passed(edges: Floats, at: Floats) -> Floats:
    """Sum of ``at - edge`` over the edges that lie before each moment."""
    before = np.searchsorted(edges, at)
    total = np.r_[0.0, np.cumsum(edges)]
    result: Floats = before * at - total[before]
    return result


def density(x: Floats, y: Floats, columns: int, rows: int) -> tuple[Floats, Floats, Floats]:
    """Count points in a grid: counts of shape (rows, columns), and the centres of columns and rows."""
    counts, y_edges, x_edges = np.histogram2d(y, x, bins=(rows, columns))
    return counts, (x_edges[:-1] + x_edges[1:]) / 2, (y_edges[:-1] + y_edges[1:]) / 2


def sample(n: int, limit: int, seed: int = 0) -> Ints:
    """Up to ``limit`` positions out of ``n``, ascending, drawn evenly at random (the same each time)."""
    if n <= limit:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, limit, replace=False))


def log_histogram(values: Floats, per_decade: int = 12, least: float = 1e-12) -> tuple[Floats, Ints]:
    """Count positive values in bins of equal width on a log axis: edges and counts.

    A value below ``least`` counts in the lowest bin, so that damage in a table cannot ask for endless bins.
    """
    values = np.maximum(values[np.isfinite(values) & (values > 0)], least)
    if not len(values):
        return np.empty(0), np.empty(0, np.int64)
    low = np.floor(np.log10(values.min()) * per_decade)
    high = np.floor(np.log10(values.max()) * per_decade) + 1
    edges = 10 ** (np.arange(low, high + 1) / per_decade)
    edges[0], edges[-1] = min(edges[0], values.min()), max(edges[-1], values.max())
    counts, _ = np.histogram(values, edges)
    return edges, counts.astype(np.int64)
