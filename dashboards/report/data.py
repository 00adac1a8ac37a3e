"""What the figures read: columns of a run's tables as NumPy arrays, and why a table is absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from edgeprof.dashboards.report.downsample import Floats
from edgeprof.profiler.analysis.data import COLLECTOR_OF
from edgeprof.profiler.run import Run

_REMEDIES = {
    "phases": "mark them in the program with edgeprof.phase(...), or run a PyTorch program with --auto",
    "steps": "call edgeprof.step() once an iteration, or run a PyTorch program with --auto",
    "power": "use a board or machine with readable power sensors (`edgeprof doctor` names those it finds)",
}


@dataclass(frozen=True)
class Coded:
    """A text column: a code for each row (-1 for null) and the text of each code."""

    codes: NDArray[np.int64]
    names: list[str]

    def is_(self, name: str) -> NDArray[np.bool_]:
        """Where the column equals ``name``."""
        code = self.names.index(name) if name in self.names else -2
        equal: NDArray[np.bool_] = self.codes == code
        return equal

    def present(self) -> list[str]:
        """The texts that occur, most frequent first."""
        counts = np.bincount(self.codes[self.codes >= 0], minlength=len(self.names))
        return [self.names[i] for i in np.argsort(-counts, kind="stable") if counts[i]]


class RunData:
    """A run's manifest and its tables' columns; each column is read once.

    Times (columns named ``*_ns``) become seconds since the workload's exec, other numbers
    64-bit floats with NaN for null.  A column or a table that is not there is all NaN or
    empty: a figure decides by ``has`` and by what is finite.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.manifest = run.manifest
        self.damage: dict[str, str] = {}
        self._schemas: dict[str, pa.Schema | None] = {}
        self._rows: dict[str, int] = {}
        self._numbers: dict[tuple[str, str], Floats] = {}
        self._texts: dict[tuple[str, str], Coded] = {}
        self.start_ns = self._start()

    def _start(self) -> int:
        start = self.manifest["run"].get("start_ns")
        if isinstance(start, int):
            return start
        for table in ("system", "process", "cgroup", "disk", "block_io"):
            column = "queued_ns" if table == "block_io" else "time_ns"
            if self.has(table) and column in self.names(table):
                first = pc.min(self._read(table, column)).as_py()
                if first is not None:
                    return int(first)
        return 0

    @property
    def wall_time(self) -> float:
        """Seconds from exec to exit; of an interrupted run up to the last sample of any table."""
        run = self.manifest["run"]
        for value in (run.get("wall_time"), _difference(run.get("end_ns"), run.get("start_ns"))):
            if isinstance(value, (int, float)) and np.isfinite(value) and value > 0:
                return float(value)
        ends = [self.number(table, "time_ns") for table in ("system", "process", "cgroup", "disk")]
        ends += [self.number("phases", "end_ns"), self.number("block_io", "completed_ns")]
        return max((float(np.nanmax(end)) for end in ends if np.isfinite(end).any()), default=0.0)

    @property
    def of_all_time(self) -> RunData:
        """The same data without a window of time: itself."""
        return self

    @property
    def window(self) -> tuple[float, float]:
        """Begin and end of the time that figures show, seconds since start: the whole run."""
        return 0.0, self.wall_time

    def has(self, table: str) -> bool:
        """Whether a table is there, can be read and has rows."""
        return self._schema(table) is not None and self._rows[table] > 0

    def names(self, table: str) -> list[str]:
        """The table's columns; none when it is not there."""
        schema = self._schema(table)
        return [] if schema is None else list(schema.names)

    def unit(self, table: str, column: str) -> str | None:
        """The unit that a column's metadata gives."""
        schema = self._schema(table)
        if schema is None or column not in schema.names:
            return None
        metadata = schema.field(column).metadata or {}
        unit = metadata.get(b"unit")
        return None if unit is None else unit.decode("utf-8", "replace")

    def number(self, table: str, column: str) -> Floats:
        """A numeric column; NaN where null.  See the class for times."""
        key = (table, column)
        if key not in self._numbers:
            self._numbers[key] = self._number(table, column)
        return self._numbers[key]

    def text(self, table: str, column: str) -> Coded:
        """A text column."""
        key = (table, column)
        if key not in self._texts:
            self._texts[key] = self._text(table, column)
        return self._texts[key]

    def known(self, table: str, column: str) -> bool:
        """Whether a numeric column holds any value."""
        return bool(np.isfinite(self.number(table, column)).any())

    def absence(self, table: str) -> tuple[str, str]:
        """Why a table has nothing to show, and what to do about it: reason and remedy."""
        if table in self.damage:
            return self.damage[table], f"make the tables again with `edgeprof ingest {self.run.path}`"
        name = COLLECTOR_OF.get(table, table)
        remedy = _REMEDIES.get(table, "")
        entry = next((item for item in self.collectors if item.get("name") == name), None)
        if entry is None:
            return f"the collector {name} did not take part in this run", remedy or f"add it with --collect {name}"
        if entry.get("available") is False:
            return str(entry.get("reason") or f"the collector {name} could not run here"), str(
                entry.get("remedy") or remedy
            )
        if self.manifest.get("ingest") is None and not self.run.tables:
            return "the capture has no tables yet", f"make them with `edgeprof ingest {self.run.path}`"
        return f"the collector {name} ran but recorded nothing", remedy

    @property
    def collectors(self) -> list[dict[str, Any]]:
        """The manifest's entries of collectors."""
        return [item for item in self.manifest["collectors"] if isinstance(item, dict)]

    def _schema(self, table: str) -> pa.Schema | None:
        if table not in self._schemas:
            self._schemas[table], self._rows[table] = None, 0
            if self.run.has(table):
                try:
                    file = pq.ParquetFile(self.run.table_file(table))
                    self._schemas[table], self._rows[table] = file.schema_arrow, file.metadata.num_rows
                except (OSError, pa.ArrowException) as error:
                    self._damaged(table, error)
        return self._schemas[table]

    def _damaged(self, table: str, error: Exception) -> None:
        self.damage[table] = f"the table {table} cannot be read ({error})"
        self._schemas[table], self._rows[table] = None, 0

    def _read(self, table: str, column: str) -> pa.ChunkedArray:
        try:
            return self.run.arrow(table, [column]).column(0)
        except (OSError, pa.ArrowException) as error:
            self._damaged(table, error)
            return pa.chunked_array([pa.array([], pa.null())])

    def _number(self, table: str, column: str) -> Floats:
        if column not in self.names(table):
            return np.full(self._rows[table], np.nan)
        values = self._read(table, column)
        if column.endswith("_ns") and pa.types.is_integer(values.type):
            values = pc.subtract(values, pa.scalar(self.start_ns, pa.int64()))
            return _floats(values) / 1e9
        return _floats(values)

    def _text(self, table: str, column: str) -> Coded:
        if column not in self.names(table):
            return Coded(np.full(self._rows[table], -1, np.int64), [])
        values = self._read(table, column)
        if not pa.types.is_dictionary(values.type):
            values = values.cast(pa.string()).dictionary_encode()
        array = values.unify_dictionaries().combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], values.type)
        codes = pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        return Coded(codes, ["" if name is None else str(name) for name in array.dictionary.to_pylist()])


def _floats(values: pa.ChunkedArray) -> Floats:
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    array: Floats = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return array


def _difference(end: object, start: object) -> float | None:
    if isinstance(end, int) and isinstance(start, int):
        return (end - start) / 1e9
    return None
