"""A study: runs over the cells of a matrix, as the statistics and the report take it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class CellRun:
    """One whole process: a repeat of a cell.

    ``levels`` holds the level of every axis (as text), ``metrics`` value or None by metric name in the units of
    :mod:`edgeprof.profiler.analysis.registry`; ``failed`` says why a run has no figures, empty where it ran well.
    """

    cell_id: str
    levels: dict[str, str]
    repeat: int
    run_path: Path | None
    metrics: dict[str, float | None]
    failed: str


@dataclass
class Study:
    """All runs of a matrix; ``axes`` gives every axis its levels in the order of the specification.

    ``baseline`` is the level of some axes to compare with; an axis without one is compared with its first level.
    """

    name: str
    axes: dict[str, list[str]]
    cells: list[CellRun]
    baseline: dict[str, str] = field(default_factory=dict)
