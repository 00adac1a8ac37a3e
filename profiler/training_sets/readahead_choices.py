"""Which read-ahead served a workload best, from the throughput that its runs reached at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgeprof.profiler.statistics.student import quantile

CHOICES_KIB = (8, 16, 32, 64, 128, 256, 512, 1024)
"""Read-ahead that can be chosen, KiB; as ``KML_READAHEAD_CHOICES`` of kml/readahead.h."""
DEFAULT_KIB = 128
"""The kernel's own (VM_READAHEAD_PAGES in include/linux/pagemap.h)."""

LEAST_DIFFERENCE = 0.02
"""Share of throughput below which nobody would change a setting, however sure the difference is."""
ASSUMED_SPREAD = 0.05
"""Deviation between repeats, as a share, where no setting was run twice."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Setting:
    """One read-ahead of a workload.

    Attributes:
        runs: how many were made with it.
        throughput: their geometric mean.
        relative: that over the best setting's.
        tied: whether it cannot be told from the best one.
    """

    kib: int
    runs: int
    throughput: float
    relative: float
    tied: bool


@dataclass(frozen=True)
class Choice:
    """What to choose.

    Attributes:
        best_kib: what to choose at the default.
        spread: deviation between repeats, as a share of throughput; None: nothing was repeated.
    """

    best_kib: int
    spread: float | None
    settings: tuple[Setting, ...]

    def at(self, current_kib: int) -> int:
        """What to choose at a setting: see `nearest_tied`."""
        return nearest_tied(self.settings, current_kib)


def nearest_tied(settings: Sequence[Setting], current_kib: int) -> int:
    """Of those that are tied with the best, the nearest to the current one: nothing is changed without a reason."""
    tied = [item.kib for item in settings if item.tied]
    return min(tied, key=lambda kib: (abs(np.log2(kib / current_kib)), kib))


def choose(throughputs: Mapping[int, Sequence[float]]) -> Choice:
    """The choice from read-ahead (KiB) -> throughput of each run with it (all positive, none empty).

    A setting is tied with the best one when the difference is within `LEAST_DIFFERENCE`, or within what repeats of
    one setting differ by (t interval of the difference, with the spread of all settings together).
    """
    logs = {kib: np.log(np.asarray(values, float)) for kib, values in sorted(throughputs.items())}
    means = {kib: float(values.mean()) for kib, values in logs.items()}
    freedom = sum(len(values) - 1 for values in logs.values())
    if freedom:
        spread = float(np.sqrt(sum(((values - values.mean()) ** 2).sum() for values in logs.values()) / freedom))
        factor = quantile(0.5 + CONFIDENCE / 2, freedom)
    else:
        spread, factor = ASSUMED_SPREAD, quantile(0.5 + CONFIDENCE / 2, float("inf"))
    top = max(means, key=lambda kib: means[kib])
    settings = []
    for kib, mean in means.items():
        margin = factor * spread * np.sqrt(1 / len(logs[kib]) + 1 / len(logs[top]))
        tied = kib == top or means[top] - mean <= max(margin, LEAST_DIFFERENCE)
        settings.append(Setting(kib, len(logs[kib]), float(np.exp(mean)), float(np.exp(mean - means[top])), bool(tied)))
    return Choice(nearest_tied(settings, DEFAULT_KIB), spread if freedom else None, tuple(settings))
