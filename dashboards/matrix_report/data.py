"""What the page's script draws from: cells, runs, values and the answer, as JSON values of few bytes."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from edgeprof.dashboards.report.summary import KEY_METRICS
from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.statistics import summary
from edgeprof.profiler.statistics.answer import Answer, MetricAnswer
from edgeprof.profiler.statistics.cells import Key, key_of, levels_of, name_of
from edgeprof.profiler.statistics.effects import Effect, Interaction
from edgeprof.profiler.statistics.study import CellRun

TITLES: Mapping[str, str] = {
    **dict(KEY_METRICS),
    "step_time_p90": "Step time, p90",
    "step_time_max": "Step time, longest",
    "rss_peak": "Peak resident memory",
    "read_amplification": "Read amplification",
}
INTERACTIONS_SHOWN = 24
"""Of each metric; those that are surest."""


def title(metric: str) -> str:
    """A metric's name for people."""
    return TITLES.get(metric) or clean(metric).replace("_", " ").capitalize()


def content(found: Answer, target: Path, metrics: list[str]) -> dict[str, Any]:
    """All that the script needs, for these metrics.

    Returns:
        ``axes`` (name, levels, varied), ``cells`` (index of its level on each axis), ``names`` (of cells), ``runs``
        (cell, repeat, link or null, reason of failure or empty), ``metrics`` (name, title, unit, better, scale,
        values by run, effects, interactions, variance), ``headline`` (index of a metric).
    """
    study = found.study
    levels = levels_of(study)
    cells: dict[Key, int] = {}
    for run in study.cells:
        cells.setdefault(key_of(study, run), len(cells))
    return {
        "axes": [
            {"name": clean(axis), "levels": [clean(level) for level in names], "varied": len(names) > 1}
            for axis, names in levels.items()
        ],
        "cells": [
            [names.index(level) if level in names else -1 for names, level in zip(levels.values(), key, strict=True)]
            for key in cells
        ],
        "names": [clean(name_of(study, key)) for key in cells],
        "runs": [[cells[key_of(study, run)], run.repeat, link(run, target), clean(run.failed)] for run in study.cells],
        "metrics": [_metric(found, found.metrics[name]) for name in metrics],
        "headline": metrics.index(found.headline) if found.headline in metrics else 0,
    }


def link(run: CellRun, target: Path) -> str | None:
    """The address of a run's report as seen from the page; None where it has none."""
    if run.run_path is None:
        return None
    report = run.run_path / "report.html"
    if not report.is_file():
        return None
    return quote(os.path.relpath(report.resolve(), target.resolve().parent))


def _metric(found: Answer, told: MetricAnswer) -> dict[str, Any]:
    name = told.about.name
    return {
        "name": clean(name),
        "title": title(name),
        "unit": told.about.unit,
        "better": told.about.better,
        "scale": told.scale,
        "values": [None if run.failed else _short(run.metrics.get(name)) for run in found.study.cells],
        "effects": [_effect(effect, told) for effect in told.effects],
        "interactions": [_pair(pair, told) for pair in _surest(told)],
        "variance": [
            [clean(share.name), _short(share.share), _short(share.low), _short(share.high), len(share.factors)]
            for share in told.variance.shares
        ],
        "variance_reason": clean(told.variance.reason),
        "reason": clean(told.reason),
    }


def _surest(told: MetricAnswer) -> list[Interaction]:
    known = [pair for pair in told.interactions if pair.estimate is not None]
    return sorted(known, key=lambda pair: 2.0 if pair.p is None else pair.p)[:INTERACTIONS_SHOWN]


def _effect(effect: Effect, told: MetricAnswer) -> dict[str, Any]:
    estimate = effect.estimate
    return {
        "factor": clean(effect.factor),
        "level": clean(effect.level),
        "baseline": clean(effect.baseline),
        "value": _short(estimate.value) if estimate else None,
        "low": _short(estimate.low) if estimate else None,
        "high": _short(estimate.high) if estimate else None,
        "p": _short(effect.corrected),
        "shown": effect.shown,
        "detectable": _short(effect.detectable),
        "pairs": effect.pairs,
        "processes": effect.processes,
        "verdict": clean(summary.verdict(effect, told)),
    }


def _pair(pair: Interaction, told: MetricAnswer) -> dict[str, Any]:
    return {
        "factors": [clean(pair.factor), clean(pair.with_factor)],
        "levels": [clean(pair.level), clean(pair.with_level)],
        "baselines": [clean(pair.baseline), clean(pair.with_baseline)],
        "shown": pair.shown,
        "p": _short(pair.corrected),
        "verdict": clean(summary.verdict(pair, told)),
    }


def _short(value: float | None) -> float | None:
    """Six digits: more than a screen shows, half the bytes; None for what is no number."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")
