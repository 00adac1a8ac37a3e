"""Which part of a run an export holds: a window of its time, a phase, or both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from edgeprof.profiler.analysis.data import Ints, RunData
from edgeprof.profiler.analysis.timeline import main_phases, merge, named
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import Run

_FOREVER = 4e9
"""Seconds; further from the start lies nothing."""
_LAST = np.iinfo(np.int64).max
_BEGINS = ("time_ns", "start_ns", "queued_ns", "issued_ns", "completed_ns")
"""Columns that tell when a row begins: the first one that is known."""
_ENDS = ("end_ns", "completed_ns")


class EmptyPart(EdgeprofError):
    """A window that ends before it begins."""

    def __init__(self, begin: float, end: float) -> None:
        super().__init__(f"a window from {begin:g} s to {end:g} s holds nothing; give an end that is after the begin")


class NoSuchPhase(EdgeprofError):
    """A phase that the run's main process did not have."""

    def __init__(self, name: str, present: list[str]) -> None:
        there = f"it has: {', '.join(present)}" if present else "it recorded none"
        super().__init__(f"the run's main process has no phase {name!r}; {there}")


@dataclass(frozen=True)
class Part:
    """A part of a run; by default all of it.

    Attributes:
        begin, end: seconds since the workload's exec; None is open.
        phase: what lies in this phase of the main process, with the phases inside it.
    """

    begin: float | None = None
    end: float | None = None
    phase: str | None = None

    def __bool__(self) -> bool:
        return self != WHOLE

    def spans(self, run: Run) -> Spans:
        """The part's spans of time.

        Raises:
            EmptyPart, NoSuchPhase
        """
        if not self:
            return _ALL
        since = -_FOREVER if self.begin is None else max(self.begin, -_FOREVER)
        until = _FOREVER if self.end is None else min(self.end, _FOREVER)
        if not since < until:  # also where one is not a number
            raise EmptyPart(since, until)
        data = RunData.of(run)
        begin, end = ((data.start_ns or 0) + round(moment * 1e9) for moment in (since, until))
        if self.phase is None:
            return Spans(np.array([begin]), np.array([end]))
        phases = main_phases(data)
        starts, ends = named(phases, self.phase) if phases is not None else (np.empty(0, np.int64),) * 2
        if not len(starts):
            raise NoSuchPhase(self.phase, phases["name"].unique().drop_null().to_pylist() if phases else [])
        starts, ends = merge(starts, ends)
        inside = (ends >= begin) & (starts <= end)
        return Spans(np.maximum(starts[inside], begin), np.minimum(ends[inside], end))


WHOLE = Part()


@dataclass(frozen=True)
class Spans:
    """Disjoint spans of CLOCK_MONOTONIC ns in order."""

    starts: Ints
    ends: Ints

    def hold(self, moments: Ints) -> NDArray[np.bool_]:
        """Which moments lie in a span."""
        return self._touch(moments, moments)

    def rows(self, table: pa.Table) -> pa.Table:
        """The rows that overlap a span, whole; one without an end lasts, and one without a time lies nowhere.

        A table that has no times is left as it is, and so is each where the span is the whole run.
        """
        if self is _ALL:
            return table
        begin = _first(table, _BEGINS)
        if begin is None:
            return table
        end = _first(table, _ENDS)
        begins = pc.fill_null(begin, 0).to_numpy()
        ends = begins if end is None else pc.fill_null(end, _LAST).to_numpy()
        return table.filter(pc.and_(begin.is_valid(), pa.array(self._touch(begins, ends))))

    def _touch(self, begin: Ints, end: Ints) -> NDArray[np.bool_]:
        after = np.searchsorted(self.ends, begin)  # the first span that ends at the interval's begin or later
        first = np.append(self.starts, _LAST)[after]
        touch: NDArray[np.bool_] = (after < len(self.starts)) & (first <= end)
        return touch


_ALL = Spans(np.array([-_LAST]), np.array([_LAST]))


def _first(table: pa.Table, columns: Sequence[str]) -> pa.ChunkedArray | None:
    """In each row the first of several columns that is known; None where the table has none of them."""
    present = [table[name] for name in columns if name in table.column_names]
    return pc.coalesce(*present) if present else None
