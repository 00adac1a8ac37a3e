"""A study's answer in words and as plain JSON values: which factor matters, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgeprof.profiler.statistics import words
from edgeprof.profiler.statistics.answer import Answer, MetricAnswer, answer, by_factor
from edgeprof.profiler.statistics.cells import levels_of
from edgeprof.profiler.statistics.contrast import CONFIDENCE, NONE_SPREAD
from edgeprof.profiler.statistics.effects import Effect, Interaction
from edgeprof.profiler.statistics.multiple import HOW
from edgeprof.profiler.statistics.scale import back
from edgeprof.profiler.statistics.study import Study
from edgeprof.profiler.statistics.variance import RESIDUAL, Share

Title = Callable[[str], str]

METHOD = (
    "Each process counts once, by one number; steps of several processes are never pooled.",
    "An effect is the mean difference over pairs of cells that differ in this factor only, with Welch's 95 % interval;"
    " metrics that are positive throughout, shares apart, are compared as ratios.",
    f"{HOW[0].upper()}{HOW[1:]}. That holds for each of these by itself: the metric that the summary is told by, the"
    " others that matter, the rest; and effects and interactions of each.",
    "Variance explained is epsilon squared, averaged over the orders of the factors; its intervals are from a bootstrap"
    " of the runs within each cell.",
)


def summary(study: Study, metric: str | None = None) -> dict[str, Any]:
    """The answer as plain JSON values.

    Returns:
        ``study``, ``axes``, ``baseline``, ``runs``, ``cells``, ``failed`` (cell, levels, repeat, reason), ``headline``
        (metric), ``sentences``, ``metrics`` (by name: unit, better, scale, processes, cells, effects, interactions,
        variance, reason), ``absent`` (metric -> reason), ``method``.  An effect's ``ratio`` (log scale) or
        ``difference`` (linear) has ``value``, ``low``, ``high``; ``detectable`` is on the same footing.
    """
    return summary_of(answer(study, metric))


def summary_of(found: Answer) -> dict[str, Any]:
    """As `summary`, of an answer that is there already."""
    study = found.study
    return {
        "study": study.name,
        "axes": {axis: list(levels) for axis, levels in levels_of(study).items()},
        "baseline": {axis: levels[0] for axis, levels in levels_of(study).items() if levels},
        "runs": len(study.cells),
        "cells": found.cells,
        "failed": [
            {"cell": run.cell_id, "levels": dict(run.levels), "repeat": run.repeat, "reason": run.failed}
            for run in found.failed
        ],
        "headline": found.headline,
        "sentences": [f"{headline(found)}.", *evidence(found), *sureness(found)],
        "metrics": {name: _metric(each) for name, each in found.metrics.items()},
        "absent": dict(found.absent),
        "method": list(METHOD),
    }


def headline(found: Answer, title: Title = str) -> str:
    """Which factor matters most, for the metric that the answer is told by."""
    told = found.metrics.get(found.headline or "")
    if told is None:
        return "No run gave any figures, so nothing can be said"
    name = title(told.about.name)
    if not told.effects:
        return f"Only one level of every factor was run, so nothing can be compared for {name}"
    shown = {effect.factor for effect in told.effects if effect.shown}
    if all(effect.estimate is None or effect.p is None for effect in told.effects):
        return f"Too few runs of each cell to tell what matters for {name}"
    if not shown:
        pair = next((pair for pair in told.interactions if pair.shown), None)
        if pair is not None:
            return f"{pair.factor} and {pair.with_factor} matter for {name} together, none by itself on average"
        return f"No factor was shown to matter for {name}"
    for share in ranked(told):
        if share.factors[0] in shown:
            return f"{share.factors[0]} matters most for {name}: it explains {explains(share)} of the differences"
    return f"{sorted(shown)[0]} matters for {name}"


def explains(share: Share) -> str:
    """62 % (55 to 68)."""
    if share.low is None or share.high is None:
        return f"{_tenths(share.share)} %"
    return f"{_tenths(share.share)} % ({_tenths(share.low)} to {_tenths(share.high)})"


def _tenths(share: float) -> str:
    """In percent, to a tenth at most: what is less says nothing of a share of variance."""
    percent = share * 100
    return f"{percent:.0f}" if percent >= 10 or percent < 0.05 else f"{percent:.1f}"


def ranked(told: MetricAnswer) -> list[Share]:
    """Single factors, the one that explains most first."""
    singles = [share for share in told.variance.shares if len(share.factors) == 1]
    return sorted(singles, key=lambda share: -share.share)


def evidence(found: Answer) -> list[str]:
    """A sentence on every factor, those that explain most first, and one on each interaction shown."""
    told = found.metrics.get(found.headline or "")
    if told is None:
        return []
    order = {share.factors[0]: place for place, share in enumerate(ranked(told))}
    groups = by_factor(told.effects, lambda effect: effect.factor)
    lines = []
    for factor in sorted(groups, key=lambda name: order.get(name, len(order))):
        levels = "; ".join(_level(effect, told) for effect in groups[factor])
        lines.append(f"{factor} (against {groups[factor][0].baseline}): {levels}.")
    shown = [pair for pair in told.interactions if pair.shown and pair.estimate]
    shown.sort(key=lambda pair: -abs(pair.estimate.value) if pair.estimate else 0.0)
    lines += [f"{together(pair, told)}." for pair in shown[:3]]
    if len(shown) > 3:
        lines.append(f"{len(shown) - 3} more pairs of levels change each other's effect.")
    return lines


def _level(effect: Effect, told: MetricAnswer) -> str:
    return f"{effect.level}{' is' if effect.shown else ':'} {verdict(effect, told)}"


def verdict(effect: Effect, told: MetricAnswer) -> str:
    """What may be said of an effect: a change with its interval and p, or what could have been shown."""
    about, estimate = told.about, effect.estimate
    if estimate is None:
        return f"cannot be compared ({effect.reason})"
    if effect.corrected is None:
        same = estimate.value == 0 and effect.reason == NONE_SPREAD
        return "no difference at all" if same else f"cannot be judged ({effect.reason})"
    if not effect.shown:
        return words.none_shown(about.unit, told.scale, effect.detectable)
    told_change = words.change(about.name, about.unit, told.scale, estimate.value, estimate.low, estimate.high)
    return f"{told_change}, {words.p_is(effect.corrected)}"


def together(pair: Interaction, told: MetricAnswer) -> str:
    """An interaction in words."""
    estimate = pair.estimate
    if estimate is None:
        return f"{pair.factor} and {pair.with_factor} cannot be compared together ({pair.reason})"
    about = told.about
    change = words.change(about.name, about.unit, told.scale, estimate.value, estimate.low, estimate.high)
    return (
        f"{pair.factor} and {pair.with_factor} act together: {pair.level} against {pair.baseline} is {change}"
        f" with {pair.with_level} than with {pair.with_baseline}, {words.p_is(pair.corrected)}"
    )


def sureness(found: Answer) -> list[str]:
    """What the answer rests on, a sentence each."""
    told = found.metrics.get(found.headline or "")
    failed = f"{len(found.failed)} of them failed" if found.failed else "none failed"
    lines = [f"{len(found.study.cells)} runs of {found.cells} cells, {failed}."]
    if told and told.variance.shares:
        last = told.variance.shares[-1]
        known = f"{explains(last)} of the differences are {RESIDUAL}."
        lines.append(known if last.name == RESIDUAL else "With one run a cell, what repeats differ by is not known.")
    return [*lines, f"Intervals in brackets are {CONFIDENCE * 100:.0f} % ones; {HOW}."]


def _metric(told: MetricAnswer) -> dict[str, Any]:
    return {
        "unit": told.about.unit,
        "better": told.about.better,
        "scale": told.scale,
        "processes": told.processes,
        "cells": told.cells,
        "effects": [_effect(effect, told) for effect in told.effects],
        "interactions": [
            {
                **_effect(pair, told),
                "with_factor": pair.with_factor,
                "with_level": pair.with_level,
                "with_baseline": pair.with_baseline,
            }
            for pair in told.interactions
        ],
        "variance": [
            {
                "name": share.name,
                "factors": list(share.factors),
                "share": share.share,
                "low": share.low,
                "high": share.high,
            }
            for share in told.variance.shares
        ],
        "variance_reason": told.variance.reason or None,
        "reason": told.reason or None,
    }


def _effect(effect: Effect, told: MetricAnswer) -> dict[str, Any]:
    kind = "ratio" if told.scale == "log" else "difference"
    estimate = effect.estimate
    bounds = None
    if estimate is not None:
        values = (estimate.value, estimate.low, estimate.high)
        bounds = dict(zip(("value", "low", "high"), (back(value, told.scale) for value in values), strict=True))
    return {
        "factor": effect.factor,
        "level": effect.level,
        "baseline": effect.baseline,
        "base": effect.base,
        kind: bounds,
        "pairs": effect.pairs,
        "processes": effect.processes,
        "p": effect.p,
        "p_corrected": effect.corrected,
        "shown": effect.shown,
        "detectable": back(effect.detectable, told.scale),
        "verdict": verdict(effect, told),
        "reason": effect.reason or None,
    }
