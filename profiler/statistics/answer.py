"""The answer of a study: for every metric the effects, the interactions and the variance explained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from edgeprof.profiler.statistics import effects, variance
from edgeprof.profiler.statistics.cells import cells_of, key_of
from edgeprof.profiler.statistics.contrast import NO_SPREAD
from edgeprof.profiler.statistics.effects import AnyEffect, Effect, Interaction
from edgeprof.profiler.statistics.metrics import MATTER, Known, known
from edgeprof.profiler.statistics.scale import Scale, scale_of
from edgeprof.profiler.statistics.study import CellRun, Study


@dataclass(frozen=True)
class MetricAnswer:
    """What a study says on one metric.

    Attributes:
        processes, cells: that gave a value.
        reason: why there are no effects; empty where there are some.
    """

    about: Known
    scale: Scale
    processes: int
    cells: int
    effects: Sequence[Effect]
    interactions: Sequence[Interaction]
    variance: variance.Variance
    reason: str = ""


@dataclass(frozen=True)
class Answer:
    """What a study says.

    Attributes:
        metrics: those that any run gave, those that matter first.
        absent: metrics that no run gave, with the reason that a run tells.
        headline: the metric that the answer is told by; None where none can be.
        failed: the runs without figures.
    """

    study: Study
    metrics: dict[str, MetricAnswer]
    absent: dict[str, str]
    headline: str | None
    failed: Sequence[CellRun]

    @property
    def cells(self) -> int:
        """Cells that any run was tried in."""
        return len({key_of(self.study, run) for run in self.study.cells})


def answer(study: Study, metric: str | None = None) -> Answer:
    """Compute it all.

    p values are corrected in families, each of which stays below 5 % as a whole: the effects on the metric that the
    answer is told by, those on the others that matter, those on all the rest, and the interactions of each.  The
    first metric is chosen by its place in `MATTER`, not by what was found, so it needs no correction for the others.

    Args:
        metric: the one to tell the answer by; else the first of `MATTER` that the runs gave and that varied.
    """
    names = known(name for run in study.cells for name in run.metrics)
    given = {name: _answered(study, about) for name, about in names.items() if cells_of(study, name)}
    told_by = metric if metric in given else _headline(study, given)
    given = _corrected(given, told_by)
    return Answer(
        study=study,
        metrics=given,
        absent={name: why_absent(study, name) for name in names if name not in given},
        headline=told_by,
        failed=[run for run in study.cells if run.failed],
    )


def _answered(study: Study, about: Known) -> MetricAnswer:
    cells = cells_of(study, about.name)
    scale = scale_of(cells.values(), about.unit)
    shares = variance.explained(study, about.name, scale)
    main = effects.main_effects(study, about.name, scale)
    return MetricAnswer(
        about=about,
        scale=scale,
        processes=shares.processes,
        cells=len(cells),
        effects=main,
        interactions=effects.interactions(study, about.name, scale),
        variance=shares,
        reason="" if main else "no factor has two levels or more",
    )


def _corrected(answers: dict[str, MetricAnswer], headline: str | None) -> dict[str, MetricAnswer]:
    done = dict(answers)
    families: dict[str, list[str]] = {}
    for name in answers:
        families.setdefault("first" if name == headline else "matters" if name in MATTER else "rest", []).append(name)
    for family in families.values():
        main = _family([answers[name].effects for name in family])
        pairs = _family([answers[name].interactions for name in family])
        for name, some, others in zip(family, main, pairs, strict=True):
            done[name] = replace(answers[name], effects=some, interactions=others)
    return done


def _family(groups: Sequence[Sequence[AnyEffect]]) -> list[list[AnyEffect]]:
    together = iter(effects.corrected([effect for group in groups for effect in group]))
    return [[next(together) for _ in group] for group in groups]


def _headline(study: Study, answers: dict[str, MetricAnswer]) -> str | None:
    """The first metric that matters, varied, and was given by most of the runs that have figures."""
    ran = sum(1 for run in study.cells if not run.failed)
    for name in (*(name for name in MATTER if name in answers), *answers):
        values = np.concatenate(list(cells_of(study, name).values()))
        varied = float(np.ptp(values)) > NO_SPREAD * float(np.abs(values).max())
        if varied and len(values) > ran / 2:
            return name
    return next(iter(answers), None)


def why_absent(study: Study, metric: str) -> str:
    """The reason that a run's own metrics tell; the first that can be read."""
    from edgeprof.profiler.errors import EdgeprofError
    from edgeprof.profiler.run import open_run

    for run in study.cells:
        if run.failed or run.run_path is None:
            continue
        try:
            entry = open_run(run.run_path).inside.metrics.get(metric)
        except (EdgeprofError, OSError, ValueError, KeyError):
            continue
        if entry is not None and entry["reason"]:
            return str(entry["reason"])
    return "no run gave it"


Item = TypeVar("Item")


def by_factor(items: Iterable[Item], factor_of: Callable[[Item], str]) -> dict[str, list[Item]]:
    """Items by the factor that they are about, in order of their first appearance."""
    found: dict[str, list[Item]] = {}
    for item in items:
        found.setdefault(factor_of(item), []).append(item)
    return found
