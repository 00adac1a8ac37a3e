"""A metric's values by cell of a study, one a process; what failed or was not measured is left out, not filled in."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np

from edgeprof.profiler.statistics.contrast import Floats
from edgeprof.profiler.statistics.study import CellRun, Study

Key = tuple[str, ...]
"""A cell: its level of every axis, in the order of the study's axes."""
Cells = dict[Key, Floats]


def key_of(study: Study, run: CellRun) -> Key:
    """The cell that a run belongs to."""
    return tuple(run.levels.get(axis, "") for axis in study.axes)


def cells_of(study: Study, metric: str) -> Cells:
    """The values of a metric in each cell that has any."""
    found: dict[Key, list[float]] = {}
    for run in study.cells:
        value = None if run.failed else run.metrics.get(metric)
        if value is not None and math.isfinite(value):
            found.setdefault(key_of(study, run), []).append(value)
    return {key: np.asarray(values, np.float64) for key, values in found.items()}


_BARE = re.compile(r"[-+\d.,\s]+[A-Za-z%/]{0,3}|default|true|false|none|null", re.IGNORECASE)
"""Levels that say nothing without the name of their axis."""


def name_of(study: Study, key: Key) -> str:
    """A cell by its levels of the factors that were varied, named where a level would say nothing by itself."""
    words = [f"{axis} {key[place]}" if _BARE.fullmatch(key[place]) else key[place] for place, axis, _ in varied(study)]
    return ", ".join(words) or "the only cell"


def levels_of(study: Study) -> dict[str, list[str]]:
    """The levels of each axis, the baseline's first; levels that only runs know are added."""
    levels: dict[str, list[str]] = {}
    for axis, named in study.axes.items():
        seen = dict.fromkeys([*named, *(run.levels[axis] for run in study.cells if axis in run.levels)])
        base = study.baseline.get(axis)
        first = [base] if base in seen else []
        levels[axis] = [*first, *(level for level in seen if level not in first)]
    return levels


def varied(study: Study) -> Iterator[tuple[int, str, list[str]]]:
    """The axes that have at least two levels: place, name, levels (the baseline's first)."""
    for place, (axis, levels) in enumerate(levels_of(study).items()):
        if len(levels) > 1:
            yield place, axis, levels
