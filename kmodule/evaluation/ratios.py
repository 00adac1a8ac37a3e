"""Each contender against another, mq-deadline by default: ratios of jobs with the same seed, with intervals.

A ratio is a geometric mean over the repeats, which are paired: both sides had the same disk and the same random
numbers.  Over several workloads it is the geometric mean of theirs, each counting alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeprof.kmodule.evaluation.folder import rows_of
from edgeprof.kmodule.evaluation.plan import BASELINE
from edgeprof.profiler.statistics import bootstrap
from edgeprof.profiler.statistics.contrast import Floats, contrast

LEAST_FOR_TAIL = 100
"""Requests of a class that its 99th percentile takes: of fewer it is their maximum."""

Key = tuple[str, str, str, str, str]
"""Disk, workload, contender, of, figure."""
Values = Mapping[Key, Mapping[int, float]]
"""Figures by repeat."""


@dataclass(frozen=True)
class Ratio:
    """A contender's figure over another's.

    Attributes:
        value: 0.8 is a fifth less.
        low, high: 95 % interval by Student's t of the logarithms; None where there is no spread to tell it by.
        bootstrap: the same by percentile-t; None where the repeats are too few.
        repeats: pairs.
        base, own: geometric means of both sides, in the figure's unit; None over several workloads.
    """

    value: float
    low: float | None
    high: float | None
    bootstrap: tuple[float, float] | None
    repeats: int
    base: float | None = None
    own: float | None = None

    def at_most(self, limit: float) -> bool | None:
        """Whether it is at most ``limit``: by the interval where there is one; None: the interval holds the limit."""
        if self.low is None or self.high is None:
            return self.value <= limit
        if self.high <= limit:
            return True
        return False if self.low > limit else None

    def at_least(self, limit: float) -> bool | None:
        """Whether it is at least ``limit``, likewise."""
        if self.low is None or self.high is None:
            return self.value >= limit
        if self.low >= limit:
            return True
        return False if self.high < limit else None


def values_of(jobs: Iterable[Mapping[str, Any]]) -> dict[Key, dict[int, float]]:
    """The figures of jobs by what they are of."""
    found: dict[Key, dict[int, float]] = {}
    for job in jobs:
        for disk, workload, contender, repeat, of, figure, value in rows_of(dict(job)):
            if value is not None:
                found.setdefault((disk, workload, contender, of, figure), {})[repeat] = value
    return found


def ratio(
    values: Values, disk: str, workload: str, contender: str, of: str, figure: str, base: str = BASELINE
) -> Ratio | None:
    """One figure's; None where no repeat has both sides, or one of them is 0."""
    logs, pairs = _logs(values, disk, workload, contender, of, figure, base)
    if logs is None:
        return None
    theirs, own = (math.exp(float(np.log(side).mean())) for side in pairs)
    return _ratio([logs], theirs, own)


def ratio_over(
    values: Values, cells: Iterable[tuple[str, str]], contender: str, of: str, figure: str, base: str = BASELINE
) -> Ratio | None:
    """Over several (disk, workload); those that have no such figure are left out."""
    found = [_logs(values, disk, workload, contender, of, figure, base)[0] for disk, workload in cells]
    known = [logs for logs in found if logs is not None]
    return _ratio(known) if known else None


def _ratio(logs: list[Floats], base: float | None = None, own: float | None = None) -> Ratio:
    weights = [1 / len(logs)] * len(logs)
    found = contrast(logs, weights)
    resampled = bootstrap.interval(logs, weights)
    return Ratio(
        value=math.exp(found.value),
        low=None if found.low is None else math.exp(found.low),
        high=None if found.high is None else math.exp(found.high),
        bootstrap=None if resampled is None else (math.exp(resampled[0]), math.exp(resampled[1])),
        repeats=sum(len(sample) for sample in logs),
        base=base,
        own=own,
    )


def _logs(
    values: Values, disk: str, workload: str, contender: str, of: str, figure: str, against: str
) -> tuple[Floats | None, tuple[Floats, Floats]]:
    own = values.get((disk, workload, contender, of, figure), {})
    base = values.get((disk, workload, against, of, figure), {})
    both = [repeat for repeat in sorted(own) if own[repeat] > 0 and base.get(repeat, 0) > 0]
    sides = tuple(np.array([side[repeat] for repeat in both], np.float64) for side in (base, own))
    if not both:
        return None, (sides[0], sides[1])
    return np.log(sides[1]) - np.log(sides[0]), (sides[0], sides[1])
