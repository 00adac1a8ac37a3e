"""How good predictions are, with intervals from drawing the runs anew: requests of one run are not independent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprof.kmodule.library import FloatArray
from edgeprof.kmodule.training.examples import Codes, Mask

ROUNDS = 1000
LEAST_RUNS = 5
"""Of fewer runs, too many draws are all the same run."""
BINS = 1024
"""Of scores, for the intervals of the area under the curve; the area itself is exact."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Score:
    """One figure, its 95 % interval over runs, and why either is not there."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Sums:
    """What a metric is made of, added up by run: ``parts[runs, k]``; ``ratio`` makes the metric of the totals."""

    parts: FloatArray
    ratio: Callable[[FloatArray], FloatArray]


class Draws:
    """The same draws of runs for every metric and model, so that their differences can be told, too."""

    def __init__(self, run: Codes, seed: int = 0, rounds: int = ROUNDS) -> None:
        self.names, self.run = np.unique(run, return_inverse=True)
        random = np.random.default_rng(seed)
        count = len(self.names)
        self.weights = random.multinomial(count, np.full(count, 1 / count), rounds).astype(float) if count else None

    def sums(self, *columns: npt.ArrayLike) -> FloatArray:
        """Columns of rows, added up by run."""
        values = [np.bincount(self.run, np.asarray(column, float), len(self.names)) for column in columns]
        return np.stack(values, axis=1)

    def redrawn(self, made_of: Sums) -> FloatArray | None:
        """The metric in each draw; None: there are too few runs."""
        if self.weights is None or len(self.names) < LEAST_RUNS:
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            return made_of.ratio(self.weights @ made_of.parts)


def scored(value: float, redrawn: FloatArray | None) -> Score:
    """A figure with the percentile interval of its draws."""
    if not np.isfinite(value):
        return Score(None, reason="it is not defined: nothing, or only one kind, is there to tell apart")
    if redrawn is None:
        return Score(value, reason=f"no interval: fewer than {LEAST_RUNS} runs")
    finite = redrawn[np.isfinite(redrawn)]
    if len(finite) < len(redrawn) / 2:
        return Score(value, reason="no interval: it is not defined in most draws of the runs")
    low, high = np.quantile(finite, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Score(value, float(low), float(high))


def mean_of(draws: Draws, values: FloatArray | Mask, counted: Mask | None = None) -> Sums:
    """The mean of values, of the rows that are counted."""
    kept = np.ones(len(values), np.bool_) if counted is None else counted
    return Sums(draws.sums(np.where(kept, values, 0.0), kept), lambda total: total[:, 0] / total[:, 1])


def r_squared(draws: Draws, target: FloatArray, predicted: FloatArray) -> Sums:
    """The share of the target's variance that is explained."""

    def ratio(total: FloatArray) -> FloatArray:
        count, first, second, residual = total.T
        return np.asarray(1 - residual / (second - first**2 / count))

    centred = target - target.mean() if len(target) else target  # else the difference of large sums loses digits
    return Sums(draws.sums(np.ones(len(target)), centred, centred**2, (target - predicted) ** 2), ratio)


def area(draws: Draws, positive: Mask, score: FloatArray, bins: int | None = BINS) -> Sums:
    """The area under the receiver's operating characteristic; without ``bins`` exact, and then not for drawing."""
    ranks = _ranks(score, bins)
    width = int(ranks.max(initial=0)) + 1
    rows = draws.run if bins else np.zeros(len(score), np.intp)
    height = len(draws.names) if bins else 1
    flat = rows * width + ranks
    sums = [
        np.bincount(flat[chosen], minlength=height * width).reshape(height, width) for chosen in (positive, ~positive)
    ]

    def ratio(total: FloatArray) -> FloatArray:
        hits, others = total[:, :width], total[:, width:]
        below = np.cumsum(others, axis=1) - others
        wins = (hits * (below + others / 2)).sum(axis=1)
        return np.asarray(wins / (hits.sum(axis=1) * others.sum(axis=1)))

    return Sums(np.concatenate(sums, axis=1).astype(float), ratio)


def _ranks(score: FloatArray, bins: int | None) -> npt.NDArray[np.intp]:
    if bins is None:
        return np.unique(score, return_inverse=True)[1].reshape(-1)
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)[1:-1])) if len(score) else np.zeros(0)
    return np.searchsorted(edges, score, side="left")


def one(draws: Draws, made_of: Sums) -> Score:
    """A metric over all rows, with its interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(made_of.ratio(made_of.parts.sum(axis=0, keepdims=True))[0])
    return scored(value, draws.redrawn(made_of))


def area_score(draws: Draws, positive: Mask, score: FloatArray) -> Score:
    """The exact area, with its interval from binned scores."""
    exact = area(draws, positive, score, bins=None)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(exact.ratio(exact.parts)[0])
    return scored(value, draws.redrawn(area(draws, positive, score)))


def difference(draws: Draws, made_of: Sums, other: Sums) -> Score:
    """One metric less another, drawn together."""
    values = [float(item.ratio(item.parts.sum(axis=0, keepdims=True))[0]) for item in (made_of, other)]
    redrawn = [draws.redrawn(item) for item in (made_of, other)]
    together = None if redrawn[0] is None or redrawn[1] is None else redrawn[0] - redrawn[1]
    return scored(values[0] - values[1], together)


def regression(draws: Draws, target: FloatArray, predicted: FloatArray) -> dict[str, Score]:
    """Mean absolute error and R² in the target's own unit."""
    return {
        "mae": one(draws, mean_of(draws, np.abs(predicted - target))),
        "r2": one(draws, r_squared(draws, target, predicted)),
    }


def classification(draws: Draws, positive: Mask, claimed: Mask, score: FloatArray) -> dict[str, Score]:
    """Area, accuracy, precision and recall of what is claimed; ``score``: the higher, the likelier."""
    right = claimed & positive
    return {
        "auc": area_score(draws, positive, score),
        "accuracy": one(draws, mean_of(draws, claimed == positive)),
        "precision": one(draws, mean_of(draws, right, claimed)),
        "recall": one(draws, mean_of(draws, right, positive)),
    }
