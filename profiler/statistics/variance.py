"""How much of the differences between runs each factor explains, and each pair of factors.

The sum of squares around the mean is divided, term by term: factors, then pairs of factors, then whatever three or
more factors do together, then what is left between the repeats of a cell.  A term's part is what it explains beyond
the terms before it; where cells are missing that depends on the order, so it is averaged over orders (Lindeman,
Merenda and Gold, *Introduction to Bivariate and Multivariate Analysis*, 1980; without missing cells all orders agree).

From each part goes what chance alone would have put there, df * (mean square between repeats), which makes it
epsilon squared (Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935): a factor that does nothing explains
0 % on average, not a little more than that.  What falls below 0 by chance is told as 0, and the other shares are made
smaller by as much; so shares and residual add up to 100 %.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeprof.profiler.statistics.cells import Cells, Key, cells_of, varied
from edgeprof.profiler.statistics.contrast import CONFIDENCE, NO_SPREAD, Floats
from edgeprof.profiler.statistics.scale import Scale, forward
from edgeprof.profiler.statistics.study import Study

ORDERS = 12
"""Orders of terms that are averaged over, at most."""
ROUNDS = 400
HIGHER = "three or more factors together"
RESIDUAL = "between repeats of the same cell"

Columns = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """A part of the variance.

    Attributes:
        factors: one name or two; none for what three or more do together, and for the residual, which ``name`` tells.
        share: 0 to 1.
        low, high: 95 % interval from a bootstrap of the runs within each cell; None with one run a cell.
    """

    name: str
    factors: tuple[str, ...]
    share: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Variance:
    """Shares that add up to 1, or the reason why there are none; with one run a cell, repeats have no share to tell."""

    shares: Sequence[Share] = ()
    processes: int = 0
    cells: int = 0
    reason: str = ""


def explained(study: Study, metric: str, scale: Scale, seed: int = 0) -> Variance:
    """Divide the variance of a metric over the runs of a study."""
    cells = {key: forward(values, scale) for key, values in cells_of(study, metric).items()}
    factors = [(place, name) for place, name, _ in varied(study) if len({key[place] for key in cells}) > 1]
    count = sum(len(values) for values in cells.values())
    problem = _problem(cells, factors, count)
    if problem:
        return Variance(processes=count, cells=len(cells), reason=problem)
    sizes = tuple(len(values) for values in cells.values())
    design = _design(tuple(cells), sizes, tuple(factors), seed)
    means = np.array([[values.mean()] for values in cells.values()])
    within = np.array([[values.var() * len(values)] for values in cells.values()])
    found = _shares(means, within, design)[:, 0]
    bounds = _bounds(list(cells.values()), found, design, seed) if count > len(cells) else None
    names = [*(" and ".join(term) for term in design.terms), HIGHER, RESIDUAL]
    shares = [
        Share(
            name,
            design.terms[place] if place < len(design.terms) else (),
            float(found[place]),
            None if bounds is None else float(bounds[0, place]),
            None if bounds is None else float(bounds[1, place]),
        )
        for place, name in enumerate(names)
        if (name != HIGHER or len(factors) > 2) and (name != RESIDUAL or count > len(cells))
    ]
    return Variance(shares, count, len(cells))


def _problem(cells: Cells, factors: Sequence[tuple[int, str]], count: int) -> str:
    if count < 2:
        return "fewer than two runs gave this metric"
    values = np.concatenate(list(cells.values()))
    if float(np.ptp(values)) <= NO_SPREAD * float(np.abs(values).max()):
        return "every run gave the same value"
    if not factors:
        return "the runs that gave this metric do not differ in any factor"
    return ""


@dataclass(frozen=True)
class _Design:
    """What depends on the cells and their numbers of runs alone.

    Rows of the bases are cells, weighted by the root of their runs: sums of squares of cell means are then those of
    the runs.

    Attributes:
        orders: for each order of the terms, each term's number and an orthonormal basis for what it adds.
    """

    terms: Sequence[tuple[str, ...]]
    weights: Columns
    orders: Sequence[Sequence[tuple[int, Columns]]]


@lru_cache(maxsize=16)  # most metrics of a study have the same cells
def _design(keys: tuple[Key, ...], sizes: tuple[int, ...], factors: tuple[tuple[int, str], ...], seed: int) -> _Design:
    places = {name: place for place, name in factors}
    terms: list[tuple[str, ...]] = [(name,) for name in places]
    terms += itertools.combinations(places, 2)
    weights = np.sqrt(np.array(sizes, np.float64))[:, None]
    columns = [weights * _indicators([tuple(key[places[name]] for name in term) for key in keys]) for term in terms]
    orders = list(_orders(len(places), len(terms) - len(places), seed))
    full = math.prod(len({key[place] for key in keys}) for place in places.values())
    if len(keys) == full and len(set(sizes)) == 1:
        orders = orders[:1]  # nothing is missing: the terms are orthogonal, and their order does not matter
    return _Design(terms, weights, [_bases(order, columns, weights) for order in orders])


def _indicators(labels: Sequence[tuple[str, ...]]) -> Columns:
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    return np.eye(len(codes))[[codes[label] for label in labels]]


def _orders(singles: int, pairs: int, seed: int) -> Iterator[list[int]]:
    """Orders of the terms, factors before pairs; all of the factors' where they are few."""
    random = np.random.default_rng(seed)
    firsts: Iterable[Sequence[int]] = itertools.permutations(range(singles))
    if math.factorial(singles) > ORDERS:
        firsts = [random.permutation(singles).tolist() for _ in range(ORDERS)]
    for first in firsts:
        yield [*first, *(singles + random.permutation(pairs)).tolist()]


def _bases(order: Sequence[int], columns: Sequence[Columns], weights: Columns) -> list[tuple[int, Columns]]:
    basis = weights / np.linalg.norm(weights)
    parts = []
    for number in order:
        block = columns[number]
        vectors, sizes, _ = np.linalg.svd(block - basis @ (basis.T @ block), full_matrices=False)
        new = vectors[:, sizes > 1e-8 * np.linalg.norm(weights)]  # nothing where missing cells leave nothing to tell
        parts.append((number, new))
        basis = np.hstack([basis, new])
    return parts


def _shares(means: Columns, within: Columns, design: _Design) -> Columns:
    """Shares by term, then of higher interactions, then of the residual.

    Args:
        means: rows are cells, columns are data sets (one, or the bootstrap's draws).
        within: sum of squares in each cell around its mean, likewise.
    """
    sizes = design.weights**2
    runs, cells, terms = float(sizes.sum()), len(means), len(design.terms)
    weighted = design.weights * (means - (sizes * means).sum(axis=0) / runs)
    between, left = (weighted**2).sum(axis=0), within.sum(axis=0)
    squares, freedom = np.zeros((terms + 1, means.shape[1])), np.zeros(terms + 1)
    for order in design.orders:
        for number, basis in order:
            squares[number] += ((basis.T @ weighted) ** 2).sum(axis=0) / len(design.orders)
            freedom[number] += basis.shape[1] / len(design.orders)
    squares[terms] = np.maximum(between - squares.sum(axis=0), 0)
    freedom[terms] = cells - 1 - freedom.sum()
    error = left / (runs - cells) if runs > cells else np.zeros_like(left)
    total = np.maximum(between + left, np.finfo(np.float64).tiny)
    shares = (squares - freedom[:, None] * error) / total
    explained = np.clip(shares.sum(axis=0), 0, 1)
    shares = np.maximum(shares, 0)
    shares *= explained / np.maximum(shares.sum(axis=0), np.finfo(np.float64).tiny)
    return np.vstack([shares, 1 - explained])


def _bounds(cells: Sequence[Floats], found: Floats, design: _Design, seed: int) -> Columns:
    """Low and high of each share: runs are drawn anew within each cell, so the design stays what it is.

    Drawn deviations are made larger by sqrt(n / (n - 1)), by which those of few runs are too small (Davison and
    Hinkley, 1997, section 2.3).  The draws lie around a share that chance has raised once more than the found one, so
    their spread is laid around the found one.
    """
    random = np.random.default_rng(seed)
    means, within = np.empty((len(cells), ROUNDS)), np.empty((len(cells), ROUNDS))
    for place, values in enumerate(cells):
        size = len(values)
        grown = math.sqrt(size / (size - 1)) if size > 1 else 0.0
        drawn = values.mean() + grown * (values - values.mean())[random.integers(0, size, (size, ROUNDS))]
        means[place] = drawn.mean(axis=0)
        within[place] = drawn.var(axis=0) * size
    shares = _shares(means, within, design)
    tail = (1 - CONFIDENCE) / 2
    spread = np.quantile(shares, [tail, 1 - tail], axis=1) - shares.mean(axis=1)
    bounds: Columns = np.clip(found + spread, 0, 1)
    return bounds
