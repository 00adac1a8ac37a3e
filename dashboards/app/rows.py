"""One row a run for the index: identity, state, factors, host facts and metrics of the whole run, as Arrow."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeprof.dashboards.report.text import clean
from edgeprof.profiler.analysis.compare import comparable
from edgeprof.profiler.analysis.registry import METRICS
from edgeprof.profiler.dataset import Entry, entry_of, metrics_of
from edgeprof.profiler.errors import DamagedMetrics
from edgeprof.profiler.query import run_row

if TYPE_CHECKING:
    import pyarrow as pa

Group = Literal["run", "factor", "host", "metric"]

READING = "reading"
"""The state of a run that is there and was not read yet."""
LONGEST_TEXT, LONGEST_NAME, MOST_FACTORS, MOST_COLUMNS = 400, 200, 120, 1_000
"""What a manifest has beyond these is not kept in the index."""

IDENTITY = ("id", "name", "started", "state", "problem", "stamp")
_OF_RUN = (
    *IDENTITY,
    "command",
    "ended",
    "status",
    "exit_code",
    "signal",
    "wall_time",
    "bound_by",
    "overhead_cpu_share",
)


_METRICS = frozenset(metric.name for metric in METRICS)
_BYTES = ("storage_read_ahead", "storage_memory_limit", "storage_zram")
"""Factors that are numbers of bytes."""


@dataclass(frozen=True)
class Column:
    """A column of the index: what its values are of, and their unit."""

    group: Group
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """A run's values by column name; text, finite numbers and None.

    The column of a metric of docs/metrics.md holds numbers alone: a factor of the same name is ``factor_<name>``.
    """

    values: Mapping[str, str | float | None]
    columns: Mapping[str, Column]


def stamp(path: str | Path) -> str:
    """Changes when what the row is made from changes: manifest, tables and metrics."""
    found = []
    for name in ("manifest.json", "manifest.partial.json", "tables", "metrics.parquet"):
        try:
            about = os.stat(f"{path}/{name}")  # noqa: PTH116  (a Path takes twice as long, of thousands of runs)
        except OSError:
            continue
        found.append(f"{name[0]}{about.st_mtime_ns}.{about.st_size}")
    return " ".join(found)


def read_row(run: str, path: Path) -> Row:
    """The row of the run ``run`` at ``path``; what is wrong with it stands in ``problem``."""
    made = stamp(path)
    entry = entry_of(path)
    values: dict[str, Any] = {
        "id": run,
        "name": entry.info.get("name"),
        "started": entry.info.get("started"),
        "command": entry.info.get("command"),
        "state": entry.state,
        "problem": entry.problem,
        "stamp": made,
    }
    columns: dict[str, Column] = {name: Column("run") for name in values}
    if entry.run is not None:
        _add_manifest(entry, values, columns)
        try:
            _add_metrics(metrics_of(entry.run.inside), values, columns)
        except DamagedMetrics as error:
            values["problem"] = str(error)
    named = [name for name in values if _is_name(name)]
    if len(named) < len(values) and not values["problem"]:
        left_out = len(values) - len(named)
        values["problem"] = f"names of its factors, host facts or metrics cannot be shown: {left_out} left out"
    return Row(
        {name: (_number if name in _METRICS else _plain)(values[name]) for name in named},
        {name: columns[name] for name in named},
    )


@lru_cache(10_000)
def _is_name(name: object) -> bool:
    """Whether a column may be called so; what a manifest holds has any name."""
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and clean(name) == name


def _add_manifest(entry: Entry, values: dict[str, Any], columns: dict[str, Column]) -> None:
    assert entry.run is not None
    for name, value in list(run_row(entry).items())[:MOST_FACTORS]:
        if name in _OF_RUN:
            columns.setdefault(name, Column("run", {"wall_time": "s", "overhead_cpu_share": "share"}.get(name, "")))
            values.setdefault(name, value)
        elif name not in ("run_id", "path"):
            factor = f"factor_{name}" if name in _METRICS else name
            columns.setdefault(factor, Column("factor", "bytes" if name in _BYTES else ""))
            values.setdefault(factor, value)
    host = comparable(entry.run.manifest.get("host") or {})
    for name, value in list(host.items())[:MOST_FACTORS]:
        if not isinstance(value, dict | list):
            values[f"host_{name}"] = value
            columns[f"host_{name}"] = Column("host", "bytes" if str(name).endswith("_bytes") else "")


def _add_metrics(metrics: Mapping[str, Mapping[str, Any]], values: dict[str, Any], columns: dict[str, Column]) -> None:
    for name, metric in metrics.items():
        known = columns.get(name)
        if known is None or (known.group == "run" and name not in IDENTITY):
            columns[name] = Column("metric", clean(metric.get("unit") or "")[:40])
            values[name] = values.get(name) if metric.get("value") is None else metric["value"]


def _plain(value: Any) -> str | float | None:
    """A value as the index keeps it: a finite number, or clean text of bounded length."""
    if value is None or isinstance(value, bool):
        return None if value is None else str(value).lower()
    if isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return clean(value)[:LONGEST_TEXT]
        return number if math.isfinite(number) else None
    text = " ".join(map(clean, value)) if isinstance(value, list) else clean(value)
    return text[:LONGEST_TEXT]


def _number(value: Any) -> float | None:
    """A value as the index keeps it where only numbers belong."""
    kept = _plain(value)
    return kept if isinstance(kept, float) else None


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as one Arrow table: a column is float64 where all its values are numbers, else text."""
    import pyarrow as pa

    names = list(dict.fromkeys((*IDENTITY, *(sys.intern(name) for row in rows for name in row.values))))[:MOST_COLUMNS]
    return pa.table({name: _array([row.values.get(name) for row in rows], name in IDENTITY) for name in names})


def _array(values: Sequence[Any], text: bool) -> pa.Array:
    if not text and all(value is None or isinstance(value, float) for value in values):
        return numbers(values)
    return texts([None if value is None else text_of(value) for value in values])


# ``pyarrow.array`` of a list loads pandas, which would take half of the time until the first page.


def numbers(values: Sequence[float | None]) -> pa.Array:
    """Numbers as float64."""
    import numpy as np
    import pyarrow as pa

    known = np.array([0.0 if value is None else value for value in values], np.float64)
    return pa.Array.from_buffers(pa.float64(), len(values), [_validity(values), pa.py_buffer(known)])


def texts(values: Sequence[str | None]) -> pa.Array:
    """Texts that UTF-8 can hold."""
    import numpy as np
    import pyarrow as pa

    parts = [b"" if value is None else value.encode() for value in values]
    ends = np.concatenate(([0], np.cumsum([len(part) for part in parts]))).astype(np.int32)
    buffers = [_validity(values), pa.py_buffer(ends), pa.py_buffer(b"".join(parts))]
    return pa.Array.from_buffers(pa.string(), len(values), buffers)


def _validity(values: Sequence[object]) -> pa.Buffer:
    import numpy as np
    import pyarrow as pa

    known = np.array([value is not None for value in values], np.bool_)
    return pa.py_buffer(np.packbits(known, bitorder="little"))


def text_of(value: str | float) -> str:
    """A value of the index as text: what two values of a column are told apart by."""
    return value if isinstance(value, str) else f"{value:.12g}"


def joined(tables: Iterable[pa.Table]) -> pa.Table:
    """Tables of `table_of` below each other; a column that is text in one becomes text in all."""
    import pyarrow as pa

    tables = list(tables)
    kinds: dict[str, set[pa.DataType]] = {}
    for table in tables:
        for field in table.schema:
            if table.column(field.name).null_count < len(table) or field.name in IDENTITY:
                kinds.setdefault(field.name, set()).add(field.type)
    alike = [_as_text(table, {name for name, found in kinds.items() if pa.string() in found}) for table in tables]
    return pa.concat_tables(alike, promote_options="default")


def _as_text(table: pa.Table, names: set[str]) -> pa.Table:
    import pyarrow as pa

    for number, field in enumerate(table.schema):
        if field.name in names and field.type != pa.string():
            table = table.set_column(number, field.name, _array(table.column(number).to_pylist(), text=True))
        elif field.name not in names and field.type == pa.string():  # all null
            table = table.set_column(number, field.name, table.column(number).cast(pa.float64()))
    return table


def columns_json(columns: Mapping[str, Column]) -> str:
    """Columns as JSON for the stored index."""
    return json.dumps({name: [column.group, column.unit] for name, column in columns.items()})


def columns_of(text: str) -> dict[str, Column]:
    """The columns that `columns_json` wrote.  Raises ValueError, TypeError."""
    return {name: Column(group, unit) for name, (group, unit) in json.loads(text).items()}
