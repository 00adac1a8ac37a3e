"""What metric functions are given (a run's manifest and tables) and give back (a value, or why there is none)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from edgeprof.profiler.run import Run

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
T = TypeVar("T")

COLLECTOR_OF = {
    "system": "procfs",
    "cpu": "procfs",
    "process": "procfs",
    "disk": "procfs",
    "cgroup": "cgroup",
    "cgroup_io": "cgroup",
    "block_io": "block",
    "page_cache": "page_cache",
    "counters": "perf_stat",
    "phases": "phases",
    "steps": "phases",
    "marks": "phases",
    "power": "power",
    "thermal": "thermal",
    "clocks": "clocks",
    "gpu": "gpu",
    "self": "self",
}
"""Table -> the collector whose capture it is made from."""

NS = 1e-9


@dataclass(frozen=True)
class Value:
    """One figure: the number (None with a ``reason``) and ``how`` it was computed, both for people."""

    value: float | None
    how: str = ""
    reason: str | None = None


def missing(reason: str) -> Value:
    """A value that cannot be computed, and why."""
    return Value(None, "", reason)


class RunData:
    """Manifest and tables of one run; a table is read when it is first asked for.

    Args:
        manifest: as `edgeprof.profiler.run.load_manifest` gives it.
        read: returns a table by name, or None when the run has none of it.
    """

    def __init__(self, manifest: Mapping[str, Any], read: Callable[[str], pa.Table | None]) -> None:
        self.manifest = manifest
        self._read = read
        self._tables: dict[str, pa.Table | None] = {}
        self._present: set[str] = set()
        self._memo: dict[str, Any] = {}

    @classmethod
    def of(cls, run: Run) -> RunData:
        """The data of a capture directory."""
        return cls(run.manifest, lambda name: run.arrow(name) if run.has(name) else None)

    def table(self, name: str) -> pa.Table | None:
        """A table, or None when it is absent or has no rows."""
        if name not in self._tables:
            found = self._read(name)
            if found is not None:
                self._present.add(name)
            self._tables[name] = found if found is not None and found.num_rows else None
        return self._tables[name]

    def present(self, name: str) -> bool:
        """Whether ingest made the table at all, be it without rows."""
        self.table(name)
        return name in self._present

    def once(self, key: str, make: Callable[[], T]) -> T:
        """The result of ``make()``, computed at the first call with this key."""
        if key not in self._memo:
            self._memo[key] = make()
        result: T = self._memo[key]
        return result

    @property
    def run(self) -> Mapping[str, Any]:
        """The manifest's ``run`` part."""
        part: Mapping[str, Any] = self.manifest.get("run") or {}
        return part

    def collector(self, name: str) -> Mapping[str, Any] | None:
        """A collector's entry in the manifest."""
        for entry in self.manifest.get("collectors") or ():
            if isinstance(entry, Mapping) and entry.get("name") == name:
                return entry
        return None

    def why_absent(self, table: str) -> str:
        """Why a table has no rows: the collector's own reason where it gave one."""
        name = COLLECTOR_OF.get(table, table)
        entry = self.collector(name)
        if entry is None:
            return f"the collector {name} was not part of this run"
        if not entry.get("available", True):
            return str(entry.get("reason") or f"the collector {name} was not available")
        return f"the collector {name} captured nothing for it"

    @cached_property
    def start_ns(self) -> int | None:
        """CLOCK_MONOTONIC ns of the workload's exec."""
        value = self.run.get("start_ns")
        return int(value) if isinstance(value, (int, float)) else None

    @cached_property
    def end_ns(self) -> int | None:
        """CLOCK_MONOTONIC ns of the workload's end; of the last sample for an interrupted run."""
        value = self.run.get("end_ns")
        if isinstance(value, (int, float)):
            return int(value)
        ends = []
        for name in ("system", "process", "cgroup"):
            table = self.table(name)
            if table is not None:
                ends.append(int(pc.max(table["time_ns"]).as_py()))
        return max(ends, default=None)

    @cached_property
    def seconds(self) -> float | None:
        """Length of what was captured: wall time, or up to the last sample of an interrupted run."""
        if self.start_ns is None or self.end_ns is None or self.end_ns <= self.start_ns:
            return None
        return (self.end_ns - self.start_ns) * NS


def has_column(table: pa.Table | None, name: str) -> bool:
    """Whether a table has a column with at least one value in it."""
    if table is None or name not in table.column_names:
        return False
    return bool(table[name].null_count < table.num_rows)


def floats(table: pa.Table, name: str) -> Floats:
    """A column as float64; null becomes NaN."""
    column = table[name].cast(pa.float64()).combine_chunks()
    values: Floats = column.to_numpy(zero_copy_only=False).astype(np.float64)
    return values


def times(table: pa.Table, name: str = "time_ns") -> Ints:
    """A column of times without nulls as int64 ns."""
    values: Ints = table[name].combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    return values


def seconds(duration_ns: Ints) -> Floats:
    """Durations in ns as seconds."""
    values: Floats = duration_ns.astype(np.float64) * NS
    return values


def texts(table: pa.Table, name: str) -> list[str | None]:
    """A text column as Python strings."""
    values: list[str | None] = table[name].cast(pa.string()).to_pylist()
    return values


def equals(table: pa.Table, name: str, wanted: str) -> npt.NDArray[np.bool_]:
    """Rows whose text column equals ``wanted``; a null does not."""
    hits = pc.fill_null(pc.equal(table[name].cast(pa.string()), wanted), False)
    result: npt.NDArray[np.bool_] = hits.combine_chunks().to_numpy(zero_copy_only=False).astype(np.bool_)
    return result


def percentile(values: Floats, share: float, how: str, none: str) -> Value:
    """A percentile, interpolated between order statistics; ``none`` is the reason when there are no values."""
    if not len(values):
        return missing(none)
    return Value(float(np.percentile(values, share)), how)


def growth(table: pa.Table, name: str) -> tuple[float, float] | None:
    """How much a cumulative column grew, and over how many seconds; None with fewer than two values.

    A counter that restarts from a lower value adds nothing for that step.
    """
    values, at = floats(table, name), times(table)
    known = ~np.isnan(values)
    if known.sum() < 2:
        return None
    values, at = values[known], at[known]
    order = np.argsort(at, kind="stable")
    values, at = values[order], at[order]
    return float(np.clip(np.diff(values), 0, None).sum()), float(at[-1] - at[0]) * NS
