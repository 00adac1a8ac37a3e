"""A part of a run: a window of its time, a phase, a process, a device, an operation, a file; and its tables cut to it.

Whole columns are read once and kept for all views of a run, up to a number of bytes; each cut takes its rows from
them.  So every figure of the report can be drawn of any part of a run, and zooming in shows more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from edgeprof.dashboards.app.kept import Kept
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.data import Coded, RunData
from edgeprof.dashboards.report.downsample import Floats
from edgeprof.dashboards.report.figures.phasing import main_phases
from edgeprof.profiler.run import Run

T = TypeVar("T")
Mask = NDArray[np.bool_]

CACHE_BYTES = 384 << 20
"""Of columns that are kept: a million requests take 0.1 GB."""

_EVENTS = {"block_io": ("queued_ns", "issued_ns", "completed_ns"), "page_cache": ("time_ns",), "marks": ("time_ns",)}
"""Tables with a row an event, and their times; the first that is known counts."""
_INTERVALS = ("phases", "steps")
_CLIPPED = ("phases",)
"""Intervals whose ends count only inside the window, since figures sum their lengths."""
_BESIDE = 2
"""Samples kept on each side of a window: lines reach its edges, rates have a sample before, and a source that is read
at every other sample has one, too."""
_SLIVER = 0.01
"""An interval that overlaps by less than this share is a neighbour of a window whose ends were rounded."""


@dataclass(frozen=True)
class Cut:
    """What part of a run is looked at; empty means all.

    The window (seconds since the run's start) cuts every table.  A phase, a device, an operation and a file choose
    requests and page-cache events; a process chooses those, its samples, and its phases and steps.
    """

    window: tuple[float, float] | None = None
    phase: str = ""
    process: int | None = None
    device: str = ""
    op: str = ""
    file: str = ""

    @classmethod
    def of(cls, view: View) -> Cut:
        """The cut that an address asks for (``t``, ``phase``, ``process``, ``device``, ``op``, ``file``)."""
        process = view.get("process")
        return cls(
            view.window,
            view.get("phase"),
            int(process) if process.isdecimal() and process.isascii() and len(process) < 11 else None,
            view.get("device"),
            view.get("op"),
            view.get("file"),
        )


def _bytes(value: object) -> int:
    if isinstance(value, Coded):
        return value.codes.nbytes + sum(map(len, value.names))
    if isinstance(value, tuple):
        return sum(map(_bytes, value))
    return value.nbytes if isinstance(value, np.ndarray) else 1024


class Columns(Kept[Any]):
    """Columns of runs, whole and cut, and what was worked out from them, up to a number of bytes."""

    def __init__(self, most: int = CACHE_BYTES) -> None:
        super().__init__(most, _bytes)


COLUMNS = Columns()
"""Shared by all views of this process."""


class CutData(RunData):
    """A run's tables, cut; otherwise like `RunData`, so that each of the report's figures can be drawn from it."""

    def __init__(self, run: Run, cut: Cut = Cut(), columns: Columns = COLUMNS) -> None:
        self.cut = Cut()  # the run's start is told by the whole tables
        self.columns = columns
        super().__init__(run)
        self.cut = cut

    @cached_property
    def whole(self) -> CutData:
        """The same run without a cut."""
        return self if self.cut == Cut() else CutData(self.run, Cut(), self.columns)

    @property
    def of_all_time(self) -> CutData:
        """The same cut of the whole run's time."""
        if self.cut.window is None:
            return self
        return CutData(self.run, replace(self.cut, window=None), self.columns)

    @property
    def wall_time(self) -> float:
        return super().wall_time if self.cut == Cut() else self.whole.wall_time

    @property
    def window(self) -> tuple[float, float]:
        return self.cut.window or (0.0, self.wall_time)

    def has(self, table: str) -> bool:
        if not super().has(table):
            return False
        mask = self._mask(table)
        return mask is None or bool(mask.any())

    def absence(self, table: str) -> tuple[str, str]:
        if super().has(table) and not self.has(table):
            return (
                f"nothing of the table {table} lies in the part of the run that is chosen",
                "show the whole run, or choose all phases, processes, devices, operations and files",
            )
        return super().absence(table)

    def rows(self, table: str) -> pa.Table:
        """A table's rows in the cut with all columns as they were stored.  Raises NoSuchTable."""
        mask = self._mask(table)
        found = self.run.arrow(table)
        return found if mask is None else found.filter(pa.array(mask))

    def _schema(self, table: str) -> pa.Schema | None:
        if table not in self._schemas:

            def read() -> tuple[pa.Schema | None, int]:
                return super(CutData, self)._schema(table), self._rows[table]

            found: tuple[pa.Schema | None, int] = self.columns.get(self._key(table, "schema of"), read)
            if found[0] is None:  # why is told anew
                found = read()
            self._schemas[table], self._rows[table] = found
        return self._schemas[table]

    def _number(self, table: str, column: str) -> Floats:
        whole = self._whole(table, column, super()._number, len)
        mask, window = self._mask(table), self.cut.window if table in _CLIPPED else None
        clipped = window is not None and column in ("start_ns", "end_ns")
        if mask is None and not clipped:
            return whole

        def cut() -> Floats:
            values = whole if mask is None else whole[mask]
            return np.clip(values, *window) if clipped and window else values

        return cast(Floats, self.columns.get((*self._key(table, column), self.cut), cut))

    def _text(self, table: str, column: str) -> Coded:
        whole = self._whole(table, column, super()._text, lambda found: len(found.codes))
        mask = self._mask(table)
        if mask is None:
            return whole
        chosen = self.columns.get((*self._key(table, column), self.cut), lambda: Coded(whole.codes[mask], whole.names))
        return cast(Coded, chosen)

    def _whole(self, table: str, column: str, read: Callable[[str, str], T], length: Callable[[T], int]) -> T:
        self._schema(table)
        kept: T = self.columns.get(self._key(table, column), lambda: read(table, column))
        if length(kept) != self._rows[table]:  # it could not be read: say so again
            return read(table, column)
        return kept

    def _key(self, table: str, column: str) -> tuple[Hashable, ...]:
        start = getattr(self, "start_ns", 0)  # the start itself is told by tables, in some runs
        return str(self.run.path), start, table, column, self.stamp(table)

    def stamp(self, table: str) -> tuple[int, ...]:
        """Tells a table's file from a later one: a run may be ingested once more while it is looked at."""
        try:
            found = (self.run.path / "tables" / f"{table}.parquet").stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _mask(self, table: str) -> Mask | None:
        """Rows of a table in the cut; None for all."""
        if self.cut == Cut():
            return None
        return cast(
            Mask | None, self.columns.get((*self._key(table, "mask of"), self.cut), lambda: self._cut_mask(table))
        )

    def _cut_mask(self, table: str) -> Mask | None:
        whole, masks = self.whole, []
        if self.cut.window is not None:
            masks.append(_in_window(whole, table, self.cut.window))
        if self.cut.process is not None and table in ("block_io", "page_cache", "process", *_INTERVALS):
            mine = whole.number(table, "pid") == self.cut.process
            if table not in _INTERVALS or mine.any():
                masks.append(mine)
        if self.cut.phase and table in ("block_io", "page_cache"):
            masks.append(_in_phase(whole, table, self.cut.phase))
        for wanted, column, tables in (
            (self.cut.device, "device", ("block_io", "disk")),
            (self.cut.op, "op", ("block_io",)),
            (self.cut.file, "path", ("page_cache",)),
        ):
            if wanted and table in tables:
                masks.append(whole.text(table, column).is_(wanted))
        chosen = [mask for mask in masks if mask is not None]
        return np.logical_and.reduce(chosen) if chosen else None


def event_time(data: RunData, table: str) -> Floats:
    """When each event of a table was, seconds since start; NaN where no time of it is known."""
    first, *others = _EVENTS[table]
    time = data.number(table, first)
    for column in others:
        if not np.isnan(time).any():
            break
        time = np.where(np.isnan(time), data.number(table, column), time)
    return time


def _in_window(data: RunData, table: str, window: tuple[float, float]) -> Mask | None:
    begin, end = window
    if table in _EVENTS:
        time = event_time(data, table)
        return (time >= begin) & (time < end)
    if table in _INTERVALS:
        starts, ends = data.number(table, "start_ns"), data.number(table, "end_ns")
        overlap = np.minimum(ends, end) - np.maximum(starts, begin)
        return (overlap >= 0) & (overlap > _SLIVER * np.minimum(ends - starts, end - begin))
    if "time_ns" not in data.names(table):
        return None
    time = data.number(table, "time_ns")
    moments = np.unique(time[np.isfinite(time)])
    if not len(moments):
        return None
    first = max(0, int(np.searchsorted(moments, begin)) - _BESIDE)
    last = min(len(moments), int(np.searchsorted(moments, end, side="right")) + _BESIDE) - 1
    return cast(Mask, (time >= moments[first]) & (time <= moments[max(first, last)]))


def _in_phase(data: RunData, table: str, phase: str) -> Mask:
    """Events in a phase of the main thread: as ingest found it, else by their time."""
    told = data.text(table, "phase")
    if (told.codes >= 0).any():
        return told.is_(phase)
    phases = main_phases(data)
    time = event_time(data, table)
    if phases is None or phase not in phases.names:
        return np.zeros(len(time), bool)
    return cast(Mask, phases.innermost(time) == phases.names.index(phase))
