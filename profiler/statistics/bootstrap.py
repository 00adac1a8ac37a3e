"""A hierarchical bootstrap of a contrast: processes are drawn anew, and the steps within each where they are known.

It stands beside Welch's interval as a check that assumes no form of the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeprof.profiler.statistics.contrast import CONFIDENCE, Floats, contrast

ROUNDS = 2000
LEAST = 5
"""Processes that a group needs: of fewer, too many draws are all the same process."""
BANK = 200
"""Redraws of a process's steps, from which each round takes one."""

STEPS = 5000
"""Steps of a process that are drawn from, at most."""

Statistic = Callable[[Floats], Floats]
"""Reduces the last axis: what one process's value is made from its steps with, ``numpy.median`` for one."""


def redrawn(steps: Floats, statistic: Callable[..., Floats], random: np.random.Generator, size: int = BANK) -> Floats:
    """Values that a process might have had, had other steps of the same kind been measured; ``size`` of them.

    Of very many steps an even choice by size is drawn from, which only makes the draws differ a little more.
    """
    if len(steps) > STEPS:
        steps = np.sort(steps)[:: -(-len(steps) // STEPS)]
    draws = random.integers(0, len(steps), (size, len(steps)))
    return np.asarray(statistic(steps[draws], axis=-1), np.float64)


def interval(
    samples: Sequence[Floats],
    weights: Sequence[float],
    seed: int = 0,
    banks: Sequence[Sequence[Floats]] | None = None,
    rounds: int = ROUNDS,
) -> tuple[float, float] | None:
    """The 95 % symmetric percentile-t interval of a contrast, or None where a group is too small or without spread.

    In each round the processes of each group are drawn with replacement; the difference from the estimate is divided
    by its own standard error, as Student does.  The plain percentile interval, which leaves the division out, is
    too short for a few processes (Hall, "On symmetric bootstrap confidence intervals", Journal of the Royal
    Statistical Society B 50, 1988; Davison and Hinkley, *Bootstrap Methods and their Application*, 1997, chapter 3.8
    on hierarchical data).

    Args:
        samples, weights: as for `edgeprof.profiler.statistics.contrast.contrast`.
        banks: for each process of each group what `redrawn` gave; a drawn process then takes one of these values.
    """
    found = contrast(samples, weights)
    if found.error is None or any(len(sample) < LEAST for sample in samples):
        return None
    random = np.random.default_rng(seed)
    value, variance = np.zeros(rounds), np.zeros(rounds)
    for place, (sample, weight) in enumerate(zip(samples, weights, strict=True)):
        drawn = _drawn(sample, banks[place] if banks else None, random, rounds)
        value += weight * drawn.mean(axis=1)
        variance += weight**2 * drawn.var(axis=1, ddof=1) / len(sample)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(value - found.value) / np.sqrt(variance)
    t = np.where(variance > 0, t, np.inf)  # all draws alike: nothing was learnt, so count it as far off
    reach = float(np.quantile(t, CONFIDENCE, method="higher")) * found.error
    return (found.value - reach, found.value + reach) if np.isfinite(reach) else None


def _drawn(
    sample: Floats, banks: Sequence[Floats] | None, random: np.random.Generator, rounds: int
) -> NDArray[np.float64]:
    chosen = random.integers(0, len(sample), (rounds, len(sample)))
    if banks is None:
        return sample[chosen]
    values = np.stack([np.asarray(bank, np.float64) for bank in banks])
    return values[chosen, random.integers(0, values.shape[1], chosen.shape)]
