"""The main process's phases as one line of time: which phase the run is in at each moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.collectors.phases.parse import assign_phase
from edgeprof.profiler.analysis.data import NS, Floats, Ints, RunData, equals, times

LOAD = "load"
"""The phase in which a program waits for its next batch."""
VALIDATE = "validate"
"""The phase in which a training looks at how good the model is, between two epochs."""


@dataclass(frozen=True)
class Timeline:
    """Segments of the main process's main thread, each in its innermost phase.

    Segment i runs from ``edges[i]`` to ``edges[i + 1]`` (CLOCK_MONOTONIC ns) and is in the
    phase ``names[labels[i]]``; label -1 is outside all phases.
    """

    edges: Ints
    labels: Ints
    names: tuple[str, ...]

    def label_at(self, at: Ints) -> Ints:
        """The label of each moment in ``at``; -1 outside."""
        if len(self.edges) < 2:
            return np.full(len(at), -1, dtype=np.int64)
        index = np.searchsorted(self.edges, at, side="right") - 1
        inside = (index >= 0) & (index < len(self.labels))
        result: Ints = np.where(inside, self.labels[np.clip(index, 0, len(self.labels) - 1)], -1)
        return result

    def seconds(self, label: int) -> Floats:
        """Lengths of the segments of one label."""
        lengths: Floats = np.diff(self.edges)[self.labels == label] * NS
        return lengths


def main_phases(data: RunData) -> pa.Table | None:
    """Rows of ``phases`` of the run's main process."""

    def select() -> pa.Table | None:
        table = data.table("phases")
        if table is None:
            return None
        kept = table.filter(pc.fill_null(table["main"], False))
        kept = kept.filter(pc.greater_equal(kept["end_ns"], kept["start_ns"]))
        return kept if kept.num_rows else None

    return data.once("main_phases", select)


def no_phases(data: RunData) -> str:
    """The sentence that says why there are no phases and how to get some."""
    entry = data.collector("phases")
    if entry is None or not entry.get("available", True):
        return data.why_absent("phases")
    return "the program recorded no phase; mark them with edgeprof.phase(), or run it with --auto"


def timeline(data: RunData) -> Timeline | None:
    """The run's timeline; None when no phase was recorded."""
    return data.once("timeline", lambda: _build(main_phases(data)))


def _build(phases: pa.Table | None) -> Timeline | None:
    if phases is None:
        return None
    edges = np.unique(np.r_[times(phases, "start_ns"), times(phases, "end_ns")])
    inside = assign_phase(phases, edges[:-1])
    labels: Ints = pc.fill_null(inside.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return Timeline(edges, labels, tuple(map(str, inside.dictionary.to_pylist())))


def merge(start: Ints, end: Ints) -> tuple[Ints, Ints]:
    """Union of intervals as sorted, disjoint intervals."""
    if not len(start):
        return start, end
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    opens = np.r_[True, start[1:] > end[:-1]]
    closes = np.r_[opens[1:], True]
    return start[opens], end[closes]


def overlap(start: Ints, end: Ints, windows_start: Ints, windows_end: Ints) -> Ints:
    """How many ns of each window lie inside the union of the intervals."""
    start, end = merge(start, end)
    if not len(start):
        return np.zeros(len(windows_start), dtype=np.int64)
    before = np.r_[0, np.cumsum(end - start)]

    def covered(at: Ints) -> Ints:
        index = np.searchsorted(start, at, side="right") - 1
        inside = np.clip(index, 0, None)
        part = np.minimum(at, end[inside]) - start[inside]
        result: Ints = np.where(index < 0, 0, before[inside] + part)
        return result

    return covered(windows_end) - covered(windows_start)


def named(phases: pa.Table, name: str) -> tuple[Ints, Ints]:
    """Start and end of all phases of one name, at any depth."""
    chosen = phases.filter(pa.array(equals(phases, "name", name)))
    return times(chosen, "start_ns"), times(chosen, "end_ns")
