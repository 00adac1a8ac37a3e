"""Studies out of thin air: cells of a matrix with planted effects, noise and failures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edgeprof.profiler.statistics.study import CellRun, Study

AXES: Mapping[str, Sequence[str]] = {
    "framework": ["pytorch", "tensorflow"],
    "format": ["folder", "tar", "lmdb"],
    "cache": ["cold", "warm"],
}
Levels = dict[str, str]
FAILURE = "the guest did not boot within 120 s; its console log is kept"


def make_study(
    effect: Callable[[Levels], float] = lambda levels: 0.0,
    spread: float | Callable[[Levels], float] = 0.02,
    repeats: int = 5,
    failures: float = 0.0,
    seed: int = 0,
    axes: Mapping[str, Sequence[str]] = AXES,
    baseline: Levels | None = None,
) -> Study:
    """A study whose only metric, ``wall_time``, is exp(effect + noise) seconds.

    Args:
        failures: share of the runs that fail.
    """
    random = np.random.default_rng(seed)
    runs = []
    for number, cell in enumerate(itertools.product(*axes.values())):
        levels = dict(zip(axes, cell, strict=True))
        size = spread(levels) if callable(spread) else spread
        for repeat in range(1, repeats + 1):
            value = float(np.exp(effect(levels) + size * random.normal()))
            failed = FAILURE if random.random() < failures else ""
            metrics: dict[str, float | None] = {} if failed else {"wall_time": value}
            runs.append(CellRun(f"cell{number}", levels, repeat, None, metrics, failed))
    return Study("synthetic", {axis: list(levels) for axis, levels in axes.items()}, runs, dict(baseline or {}))


def with_reports(study: Study, folder: Path, without: int = 1) -> Study:
    """Give every run a folder with a report, but for the last ``without`` of them."""
    for number, run in enumerate(study.cells):
        run.run_path = folder / "runs" / f"run {number}#?"
        run.run_path.mkdir(parents=True)
        if number < len(study.cells) - without:
            (run.run_path / "report.html").write_text(f"<title>run {number}</title>")
    return study


def typical(levels: Levels) -> float:
    """TensorFlow 30 % slower; lmdb 20 % faster, but only cold; the rest does nothing."""
    slow = 0.26 if levels["framework"] == "tensorflow" else 0.0
    fast = -0.22 if (levels["format"], levels["cache"]) == ("lmdb", "cold") else 0.0
    return slow + fast
