"""A weighted sum of group means, with an interval: all comparisons of a study are one of these.

The groups are cells of a matrix (or two groups of runs), their values one number a *process*: two groups have the
weights -1 and 1; the main effect of a level has +1/S and -1/S in each of S matched pairs of cells; an interaction of
two levels has the signs + - - +.  Each cell has its own variance, so nothing is assumed about cells being alike:

    t = estimate / error,  error^2 = sum of w_i^2 s_i^2 / n_i,
    df = error^4 / sum of (w_i^2 s_i^2 / n_i)^2 / (n_i - 1)

which is the test of Welch, "The generalization of 'Student's' problem when several different population variances are
involved", Biometrika 34, 1947, with the degrees of freedom of Satterthwaite, Biometrics Bulletin 2, 1946, but never
more of them than groups of equal spread would have.  Without this bound a group of 3 beside one of 10 or 20, when its
three values happen to lie close together, makes the test find too much (7 % and more instead of 5 %).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprof.profiler.statistics import student

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE

NO_SPREAD = 1e-12
"""Values that differ by less than this part of their size are taken as equal: the rounding of a mean, not a spread."""

ONE_RUN = "one run says nothing on the spread between runs; at least two of each are needed"
NONE_SPREAD = "the runs of a group do not differ at all, so there is no spread to make an interval from"


@dataclass(frozen=True)
class Estimate:
    """A difference with its 95 % interval, in the unit of the values.

    Attributes:
        low, high, p: None where nothing can be said about chance; ``reason`` says why.
        error, df: standard error and degrees of freedom, None likewise.
    """

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    error: float | None = None
    df: float | None = None
    reason: str = ""


def contrast(samples: Sequence[Floats], weights: Sequence[float]) -> Estimate:
    """The sum of ``weights[i] * mean(samples[i])``.

    Args:
        samples: one array a group, one value a process in each; not empty.
        weights: one a group; they sum to 0 where it is a comparison.

    Returns:
        An estimate without interval where a group has one value only, or where no group has any spread.
    """
    value = float(sum(weight * sample.mean() for sample, weight in zip(samples, weights, strict=True)))
    if any(len(sample) < 2 for sample in samples):
        return Estimate(value, reason=ONE_RUN)
    parts = np.array([w * w * _variance(sample) / len(sample) for sample, w in zip(samples, weights, strict=True)])
    total = float(parts.sum())
    if total == 0:
        size = max(float(np.abs(sample).max()) * abs(w) for sample, w in zip(samples, weights, strict=True))
        rounded = 0.0 if abs(value) <= NO_SPREAD * size * len(samples) else value
        return Estimate(rounded, reason=NONE_SPREAD)
    sizes = np.array([len(sample) for sample in samples])
    df = min(_freedom(parts, sizes), _freedom(np.square(weights) / sizes, sizes))
    error = math.sqrt(total)
    reach = student.quantile((1 + CONFIDENCE) / 2, df) * error
    return Estimate(value, value - reach, value + reach, student.two_sided(value / error, df), error, df)


def _freedom(parts: Floats, sizes: NDArray[np.int64]) -> float:
    """Satterthwaite's degrees of freedom of a sum of variances, where ``parts`` are those of the groups."""
    shares = parts / parts.sum()
    return 1 / float((shares**2 / (sizes - 1)).sum())


def _variance(sample: Floats) -> float:
    spread = float(np.ptp(sample))
    return float(sample.var(ddof=1)) if spread > NO_SPREAD * float(np.abs(sample).max()) else 0.0


def separation(pairs: Sequence[tuple[Floats, Floats]]) -> float | None:
    """The probability that groups without any spread differ as they do by chance, were each run's group drawn by lot.

    Of all ways to deal the runs of each pair of groups, at most two separate the values completely
    (Fisher's permutation test; exact).  Pairs that do not all differ the same way have no such probability.

    Args:
        pairs: the values of the two groups, for each pair that is compared.
    """
    steps = {float(np.sign(other[0] - base[0])) for base, other in pairs}
    if steps not in ({1.0}, {-1.0}):
        return None
    ways = math.prod(math.comb(len(base) + len(other), len(base)) for base, other in pairs)
    return min(1.0, 2 / ways)
