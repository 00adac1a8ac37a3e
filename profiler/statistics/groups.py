"""Two groups of processes compared in one metric: ratio, difference, intervals, and what could have been shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgeprof.profiler.statistics import bootstrap, student
from edgeprof.profiler.statistics.contrast import ALPHA, NONE_SPREAD, Estimate, Floats, contrast, separation
from edgeprof.profiler.statistics.multiple import holm, strictest
from edgeprof.profiler.statistics.scale import Scale, back, forward, scale_of

Verdict = Literal["more", "less", "none shown", "equal", "not known"]
"""``equal``: no run differs from any other; ``not known``: one run, or no figures."""

PAIR = (-1.0, 1.0)


@dataclass(frozen=True)
class Comparison:
    """A metric in a group of runs against the same in the base group.

    Attributes:
        scale: ``log``: the effect is a ratio of geometric means; ``linear``: a difference of means.
        base, other: the values, one a process; of several cells (see `compare_cells`) their means.
        runs: processes in the base group and the other.
        difference: of the means, in the metric's unit, with Welch's interval.
        effect: on the scale (the logarithm of the ratio, or the difference), on which p was found.
        resampled: the bootstrap's interval of the effect, on the scale.
        p: before correction; ``corrected`` after it.
        reason: why there is no p.
    """

    scale: Scale
    base: Floats
    other: Floats
    runs: tuple[int, int]
    difference: Estimate
    effect: Estimate
    resampled: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None
    detectable: float | None = None
    reason: str = ""

    @property
    def verdict(self) -> Verdict:
        """What may be said after correction."""
        if self.effect.value == 0 and self.effect.reason == NONE_SPREAD:
            return "equal"
        if self.corrected is None:
            return "not known"
        if self.corrected > ALPHA:
            return "none shown"
        return "more" if self.effect.value > 0 else "less"

    @property
    def share(self) -> float | None:
        """The change as a share of the base: 0.05 is 5 % more; None from 0."""
        return self.as_share(self.effect.value)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of ``share``, or of the difference where the base is 0 or the metric is a share itself."""
        if self.effect.low is None or self.effect.high is None:
            return None
        low, high = self.as_share(self.effect.low), self.as_share(self.effect.high)
        return None if low is None or high is None else (low, high)

    def as_share(self, effect: float | None) -> float | None:
        """A value on the scale as a share of the base."""
        if effect is None:
            return None
        if self.scale == "log":
            ratio = back(effect, "log")
            return None if ratio is None else ratio - 1
        size = abs(float(self.base.mean()))
        return effect / size if size else (0.0 if effect == 0 else None)


def compare(
    base: Sequence[float],
    other: Sequence[float],
    unit: str = "",
    seed: int = 0,
    steps: tuple[Sequence[Floats], Sequence[Floats]] | None = None,
    statistic: bootstrap.Statistic = np.median,
    rounds: int = bootstrap.ROUNDS,
) -> Comparison:
    """Compare two groups; the values are one a process, never pooled from several.

    With one process in a group nothing is said on significance.  Where no run differs from another of its group,
    there is no spread to judge by, and p is that of the exact permutation test (see `separation`); where all are equal
    there is nothing to test, and no p.

    Args:
        unit: of the metric; it decides, with the values, on the scale.
        steps: the values of the steps of each process of both groups, for the hierarchical bootstrap;
            ``statistic`` is what made the process's value from them.
        rounds: of the bootstrap; 0 leaves it out.

    Raises:
        ValueError: a group is empty.
    """
    if not len(base) or not len(other):
        raise ValueError("a group without values cannot be compared")
    samples = [np.asarray(base, np.float64), np.asarray(other, np.float64)]
    scale = scale_of(samples, unit)
    scaled = [forward(sample, scale) for sample in samples]
    effect = contrast(scaled, PAIR)
    p, reason = effect.p, effect.reason
    if effect.reason == NONE_SPREAD:
        p = separation([(samples[0], samples[1])]) if effect.value else None
    return Comparison(
        scale=scale,
        base=samples[0],
        other=samples[1],
        runs=(len(base), len(other)),
        difference=contrast(samples, PAIR),
        effect=effect,
        resampled=bootstrap.interval(scaled, PAIR, seed, _banks(steps, scale, statistic, seed), rounds)
        if rounds
        else None,
        p=p,
        reason=reason,
    )


def compare_cells(pairs: Sequence[tuple[Sequence[float], Sequence[float]]], unit: str = "") -> Comparison:
    """Compare two groups cell by cell, and give the mean difference over the cells, each of which counts alike.

    Runs are compared with runs of the same cell only, and the error comes from the spread within cells: what the
    cells differ in does not blur the answer.

    Args:
        pairs: for each cell the values in the base group and in the other, one a process.

    Raises:
        ValueError: there is no cell, or one without values.
    """
    if not pairs or not all(len(base) and len(other) for base, other in pairs):
        raise ValueError("cells without values cannot be compared")
    samples = [np.asarray(values, np.float64) for pair in pairs for values in pair]
    weights = [sign / len(pairs) for _ in pairs for sign in PAIR]
    scale = scale_of(samples, unit)
    scaled = [forward(sample, scale) for sample in samples]
    effect = contrast(scaled, weights)
    p = effect.p
    if effect.reason == NONE_SPREAD:
        p = separation(list(zip(samples[::2], samples[1::2], strict=True))) if effect.value else None
    return Comparison(
        scale=scale,
        base=np.array([sample.mean() for sample in samples[::2]]),
        other=np.array([sample.mean() for sample in samples[1::2]]),
        runs=(sum(map(len, samples[::2])), sum(map(len, samples[1::2]))),
        difference=contrast(samples, weights),
        effect=effect,
        p=p,
        reason=effect.reason,
    )


def _banks(
    steps: tuple[Sequence[Floats], Sequence[Floats]] | None, scale: Scale, statistic: bootstrap.Statistic, seed: int
) -> list[list[Floats]] | None:
    if steps is None:
        return None
    random = np.random.default_rng(seed + 1)
    banks = [[bootstrap.redrawn(process, statistic, random) for process in group] for group in steps]
    if scale == "log" and any(bool((bank <= 0).any()) for group in banks for bank in group):
        return None
    return [[forward(bank, scale) for bank in group] for group in banks]


def corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same comparisons as one family: with corrected p values, and the smallest difference each could have shown.

    The latter is found at the level that the next finding would have had to reach, for a power of 80 %.
    """
    values = holm([comparison.p for comparison in comparisons])
    alpha = strictest(values)
    return [
        replace(comparison, corrected=value, detectable=_detectable(comparison.effect, alpha))
        for comparison, value in zip(comparisons, values, strict=True)
    ]


def _detectable(effect: Estimate, alpha: float) -> float | None:
    """On the scale; None where there is no spread to find it from."""
    if effect.error is None or effect.df is None:
        return None
    return student.detectable(effect.error, effect.df, alpha)
