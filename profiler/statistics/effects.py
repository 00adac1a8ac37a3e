"""What each level of each factor does, and which two factors change each other's effect.

The effect of a level is its mean difference from the baseline's level over **matched cells**: pairs of cells that
differ in this factor only and have both been run.  So a cell that failed takes its partner out of the comparison, and
a lopsided study cannot pass the effect of one factor off as that of another.  Every pair counts alike, whatever its
number of runs, and the error comes from the runs of each cell alone (see `contrast`): nothing is assumed about cells
being equally noisy, and nothing pooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from edgeprof.profiler.statistics import student
from edgeprof.profiler.statistics.cells import Cells, Key, cells_of, varied
from edgeprof.profiler.statistics.contrast import ALPHA, NONE_SPREAD, Estimate, contrast, separation
from edgeprof.profiler.statistics.multiple import holm, strictest
from edgeprof.profiler.statistics.scale import Scale, back, forward
from edgeprof.profiler.statistics.study import Study

LEAST_RUNS = 2
NO_PARTNERS = (
    "no cell has a partner that differs in this alone, with two runs or more that gave the metric in both;"
    " run at least two repeats of each"
)


@dataclass(frozen=True)
class Effect:
    """A level against the baseline's level of the same factor.

    Attributes:
        estimate: on the metric's scale (logarithm of a ratio, or difference); None where no cells match.
        base: mean over the matched cells with the baseline's level, in the metric's unit (geometric on the log scale).
        pairs: matched pairs of cells.
        p, corrected, detectable: as in `edgeprof.profiler.statistics.groups.Comparison`.
    """

    factor: str
    level: str
    baseline: str
    scale: Scale
    estimate: Estimate | None
    base: float | None = None
    pairs: int = 0
    processes: int = 0
    p: float | None = None
    corrected: float | None = None
    detectable: float | None = None
    reason: str = ""

    @property
    def shown(self) -> bool:
        """Whether there is an effect, after correction."""
        return self.corrected is not None and self.corrected <= ALPHA


@dataclass(frozen=True)
class Interaction(Effect):
    """How much the effect of ``level`` is larger with ``with_level`` of another factor than with its baseline.

    On the log scale the estimate is the logarithm of a ratio of ratios.
    """

    with_factor: str = ""
    with_level: str = ""
    with_baseline: str = ""


AnyEffect = TypeVar("AnyEffect", bound=Effect)


@dataclass(frozen=True)
class _Matched(Generic[AnyEffect]):
    """An effect before its estimate: the groups of cells in each stratum, and their signs."""

    effect: AnyEffect
    signs: tuple[int, ...]
    strata: Sequence[tuple[Key, ...]]


def main_effects(study: Study, metric: str, scale: Scale) -> list[Effect]:
    """The effect of every level of every factor with two levels or more, uncorrected."""
    cells = cells_of(study, metric)
    found = []
    for place, factor, (baseline, *others) in varied(study):
        for level in others:
            strata = [
                (_with(key, {place: baseline}), key)
                for key in cells
                if key[place] == level and _with(key, {place: baseline}) in cells
            ]
            effect = Effect(factor, level, baseline, scale, None)
            found.append(_estimated(_Matched(effect, (-1, 1), strata), cells))
    return found


def interactions(study: Study, metric: str, scale: Scale) -> list[Interaction]:
    """Differences of differences for every two levels of two factors, uncorrected."""
    cells = cells_of(study, metric)
    factors = list(varied(study))
    found = []
    for number, (place, factor, (baseline, *levels)) in enumerate(factors):
        for other, with_factor, (with_baseline, *with_levels) in factors[number + 1 :]:
            for level in levels:
                for with_level in with_levels:
                    corners = (
                        {place: baseline, other: with_baseline},
                        {place: level, other: with_baseline},
                        {place: baseline, other: with_level},
                        {place: level, other: with_level},
                    )
                    strata = [
                        tuple(_with(key, corner) for corner in corners)
                        for key in cells
                        if (key[place], key[other]) == (level, with_level)
                    ]
                    whole = [stratum for stratum in strata if all(key in cells for key in stratum)]
                    effect = Interaction(
                        factor,
                        level,
                        baseline,
                        scale,
                        None,
                        with_factor=with_factor,
                        with_level=with_level,
                        with_baseline=with_baseline,
                    )
                    found.append(_estimated(_Matched(effect, (1, -1, -1, 1), whole), cells))
    return found


def _with(key: Key, levels: dict[int, str]) -> Key:
    return tuple(levels.get(place, level) for place, level in enumerate(key))


def _estimated(matched: _Matched[AnyEffect], cells: Cells) -> AnyEffect:
    """The mean over the strata whose cells have enough runs, as one contrast."""
    effect = matched.effect
    strata = [stratum for stratum in matched.strata if all(len(cells[key]) >= LEAST_RUNS for key in stratum)]
    if not strata:
        return replace(effect, reason=NO_PARTNERS)
    samples = [forward(cells[key], effect.scale) for stratum in strata for key in stratum]
    weights = [sign / len(strata) for _ in strata for sign in matched.signs]
    estimate = contrast(samples, weights)
    p = estimate.p
    if estimate.reason == NONE_SPREAD:
        p = _without_spread(estimate, strata, cells)
    base = sum(float(forward(cells[stratum[0]], effect.scale).mean()) for stratum in strata) / len(strata)
    return replace(
        effect,
        estimate=estimate,
        base=back(base, effect.scale),
        pairs=len(strata),
        processes=sum(len(sample) for sample in samples),
        p=p,
        reason=estimate.reason,
    )


def _without_spread(estimate: Estimate, strata: Sequence[tuple[Key, ...]], cells: Cells) -> float | None:
    """p where every run of a cell gave the same; of interactions it is not known."""
    if estimate.value == 0 or any(len(stratum) != 2 for stratum in strata):
        return None
    return separation([(cells[base], cells[new]) for base, new in strata])


def corrected(effects: Sequence[AnyEffect]) -> list[AnyEffect]:
    """The same as one family of questions: corrected p values, and the smallest effect each could have shown."""
    values = holm([effect.p for effect in effects])
    alpha = strictest(values)
    return [
        replace(effect, corrected=value, detectable=_detectable(effect.estimate, alpha))
        for effect, value in zip(effects, values, strict=True)
    ]


def _detectable(estimate: Estimate | None, alpha: float) -> float | None:
    if estimate is None or estimate.error is None or estimate.df is None:
        return None
    return student.detectable(estimate.error, estimate.df, alpha)
