"""What a comparison's figures are drawn from: its sides, each with a colour, its runs' tables and what was found."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from edgeprof.dashboards.report import theme
from edgeprof.dashboards.report.data import RunData
from edgeprof.profiler.dataset import Entry, metrics_of
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import open_run
from edgeprof.profiler.statistics.comparison import Compared, compare_groups
from edgeprof.profiler.statistics.selection import Group, Process

Align = Literal["start", "step"]
ALIGN: Mapping[Align, str] = {"start": "the start of each run", "step": "each run's first step"}
"""What time 0 is in pictures over time."""

MOST_SIDES = len(theme.CYCLE)
MOST_RUNS = 16
"""Runs of a side whose tables are drawn; more would not be told apart."""


@dataclass(frozen=True)
class Drawn:
    """A run that is drawn.

    Attributes:
        data: its tables, cut to the window that is looked at.
        offset: seconds from its start to what is time 0.
        whole: its tables without a cut, which say what was captured.
    """

    id: str
    data: RunData
    offset: float
    whole: RunData

    def outside(self, table: str) -> bool:
        """Whether a table of which nothing is shown was captured, and all of it lies outside of the window."""
        return self.data is not self.whole and self.whole.has(table)


@dataclass(frozen=True)
class Side:
    """One group of runs: the first side is what the others are compared with."""

    group: Group
    colour: str

    @property
    def name(self) -> str:
        """The group's name."""
        return self.group.name


Window = tuple[float, float]
"""Begin and end, seconds."""
Tables = Callable[[Path, "Window | None"], RunData]
"""Opens a run's tables, cut to a window of its own time where one is given."""


def _tables(path: Path, window: Window | None) -> RunData:
    return RunData(open_run(path).inside)


@dataclass(frozen=True)
class Sides:
    """All sides, and the answers to every question on their metrics.

    Attributes:
        window: what is looked at, seconds from time 0; None for all.
        left_out: sides that were named and have nothing to compare: name and reason.
    """

    sides: Sequence[Side]
    compared: Compared
    align: Align = "start"
    tables: Tables = _tables
    window: Window | None = None
    left_out: Sequence[tuple[str, str]] = ()

    @property
    def single(self) -> bool:
        """Whether no side has a second run to judge chance by."""
        return all(len(side.group.processes) == 1 for side in self.sides)

    @cached_property
    def drawn(self) -> Mapping[str, Sequence[Drawn]]:
        """By side the runs that are drawn: all, or an even choice of many."""
        return {side.name: [self._opened(process) for process in _chosen(side.group)] for side in self.sides}

    def _opened(self, process: Process) -> Drawn:
        whole = self.tables(process.path, None)
        offset = _first_step(whole) if self.align == "step" else 0.0
        if self.window is None:
            return Drawn(process.id, whole, offset, whole)
        data = self.tables(process.path, (self.window[0] + offset, self.window[1] + offset))
        return Drawn(process.id, data, offset, whole)

    @cached_property
    def span(self) -> Window:
        """From when to when is drawn."""
        runs = [run for side in self.drawn.values() for run in side]
        whole = min(-run.offset for run in runs), max(run.data.wall_time - run.offset for run in runs)
        return self.window or whole

    @property
    def left_undrawn(self) -> str:
        """A sentence where not all runs are drawn."""
        many = [side.name for side in self.sides if len(side.group.processes) > MOST_RUNS]
        return f"Of the runs of {', '.join(many)}, {MOST_RUNS} are drawn; the table of metrics has all." if many else ""


def compared(groups: Sequence[Group], align: Align = "start") -> Sides:
    """Compare each further group with the first in all metrics; groups that share a name get one of their own.

    Raises:
        EdgeprofError: fewer than two groups, more than there are colours for, or groups that cannot be compared.
    """
    if len(groups) < 2:
        raise EdgeprofError("a comparison takes at least two runs or groups of runs; choose another one")
    if len(groups) > MOST_SIDES:
        raise EdgeprofError(f"{len(groups)} runs or groups are too many to tell apart; choose {MOST_SIDES} at most")
    groups = _told_apart(groups)
    sides = [Side(group, colour) for group, colour in zip(groups, theme.CYCLE, strict=False)]
    return Sides(sides, compare_groups(groups, everything=True), align)


def _told_apart(groups: Sequence[Group]) -> Sequence[Group]:
    """Groups by names that differ: those that share one are called by their first run, then by its folder, too."""
    runs = [group.processes[0] for group in groups]
    homes = [run.path.resolve().parent for run in runs]
    common = Path(os.path.commonpath(homes))
    folders = [home.relative_to(common) if home != common else Path(home.name) for home in homes]
    names = [group.name for group in groups]
    for longer in (
        [run.id for run in runs],
        [f"{run.id} ({folder})" for run, folder in zip(runs, folders, strict=True)],
        [f"{run.id} ({number})" for number, run in enumerate(runs, 1)],
    ):
        shared = {name for name, times in Counter(names).items() if times > 1}
        names = [more if name in shared else name for name, more in zip(names, longer, strict=True)]
    return [replace(group, name=name) for group, name in zip(groups, names, strict=True)]


def single(entry: Entry, name: str | None = None) -> Group:
    """A run as a group of its own, however it ended: whoever names it wants to see it.

    Raises:
        EdgeprofError: it has no metrics.
    """
    metrics = metrics_of(entry.run.inside) if entry.run is not None else {}
    if not metrics:
        why = entry.problem or f"it has no metrics; make them with `edgeprof ingest {entry.path}`"
        raise EdgeprofError(f"{entry.id} cannot be compared: {why}")
    values = {name: item["value"] for name, item in metrics.items()}
    return Group(name or entry.short_id, [Process(entry.id, entry.path, values)])


def _chosen(group: Group) -> Sequence[Process]:
    count = len(group.processes)
    if count <= MOST_RUNS:
        return group.processes
    return [group.processes[place] for place in np.linspace(0, count - 1, MOST_RUNS).round().astype(int)]


def _first_step(data: RunData) -> float:
    """Seconds from start to the first step; 0 where no step was recorded."""
    start = data.number("steps", "start_ns")
    return float(np.nanmin(start)) if np.isfinite(start).any() else 0.0
