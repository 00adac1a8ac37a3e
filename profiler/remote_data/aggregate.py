"""One figure of many runs, in groups: what ``select ..., avg(x) ... group by`` tells, one task a run.

A run's task reads only the columns it needs, a batch at a time, and gives back each group's moments; so neither the
memory nor what crosses the network grows with the tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.dataset import Entry, list_runs, named
from edgeprof.profiler.errors import EdgeprofError, NoRuns, NoSuchTable
from edgeprof.profiler.query import METRICS, column_of, run_row
from edgeprof.profiler.remote_data.moments import Key, Moments, grouped
from edgeprof.profiler.remote_data.runs import Tell, no_word, on_runs
from edgeprof.profiler.remote_data.tasks import HERE, Where

if TYPE_CHECKING:
    import pyarrow as pa

MOST_GROUPS = 100_000
_ROWS = 1 << 16
"""Of a batch."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of each run.

    Attributes:
        table, column: where the numbers are.
        metric: only the rows of this name, where the table is that of the metrics.
        facts: columns of ``runs`` to group by: one value a run.
        columns: columns of the table to group by.
    """

    table: str
    column: str
    metric: str | None
    facts: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Aggregated:
    """One row a group, and the runs that gave nothing, with the reason."""

    table: pa.Table
    skipped: Sequence[tuple[str, str]]


def aggregate(folder: Path, of: str, by: Sequence[str] = (), where: Where = HERE, tell: Tell = no_word) -> Aggregated:
    """Count, sum, mean, extremes and standard deviation of a figure of all runs of a folder, in groups.

    Args:
        folder: of runs.
        of: a metric's name, or ``TABLE.COLUMN``.
        by: columns of the view ``runs`` (factors: ``model``, ``storage_device``, ...), or of the table; where both
            have one of that name, ``TABLE.COLUMN`` means the table's.
        where: where the runs are read.
        tell: told how many runs are done.

    Returns:
        A table with the columns of ``by``, then ``runs``, ``count``, ``sum``, ``mean``, ``min``, ``max``, ``stddev``,
        in the order of the groups' values.

    Raises:
        NoRuns: there is none that can be read.
        DaskError: the scheduler cannot be used.
        EdgeprofError: no run has the figure, or there are more groups than `MOST_GROUPS`.
    """
    entries = list_runs(folder)
    readable = [entry for entry in entries if entry.run is not None]
    if not readable:
        raise NoRuns(named(folder))
    asked = _asked(of, by, readable)
    skipped = [(entry.id, entry.problem or "it cannot be read") for entry in entries if entry.run is None]
    groups: dict[Key, Moments] = {}
    for entry, done in on_runs(partial(_of_run, asked), readable, where, tell):
        if isinstance(done.result, str) or done.result is None:
            skipped.append((entry.id, done.result or str(done.problem)))
            continue
        for key, found in done.result:
            groups[key] = groups.get(key, Moments()) + found
        _refuse_many(groups)
    if not groups:
        why = f" ({skipped[0][0]}: {skipped[0][1]})" if skipped else ""
        raise EdgeprofError(
            f"no run in {named(folder)} has {of}{why}; `edgeprof query 'show tables'` lists what there is"
        )
    return Aggregated(_table([*asked.facts, *asked.columns], _names(asked, by), groups), skipped)


def _names(asked: Asked, by: Sequence[str]) -> list[str]:
    return [name if name in asked.facts else name.removeprefix(f"{asked.table}.") for name in by]


def _asked(of: str, by: Sequence[str], entries: Sequence[Entry]) -> Asked:
    table, dot, column = of.partition(".")
    metric = None if dot else of
    if not dot:
        table, column = METRICS, "value"
    facts = {name for entry in entries for name in run_row(entry)}
    chosen = tuple(name for name in by if name in facts)
    own = tuple(name.removeprefix(f"{table}.") for name in by if name not in facts)
    both = [*chosen, *own]
    if len(set(both)) < len(both):
        raise EdgeprofError(f"a column is named twice in {', '.join(by)}; name each once")
    return Asked(table, column, metric, chosen, own)


def _of_run(asked: Asked, entry: Entry) -> list[tuple[Key, Moments]] | str:
    """The moments of a run's groups, with the keys in the order of facts, then columns; or why there are none."""
    if entry.run is None:
        return entry.problem or "it cannot be read"
    row = run_row(entry)
    facts = tuple(_plain(row.get(name)) for name in asked.facts)
    try:
        found = _metrics(entry, asked) if asked.table == METRICS else _table_groups(entry, asked)
    except EdgeprofError as error:
        return str(error)
    return [((*facts, *key), Moments(**{**of.__dict__, "runs": 1 if of.count else 0})) for key, of in found.items()]


def _plain(value: Any) -> Any:
    """A factor's value as one to group by."""
    return value if isinstance(value, str | int | float | None) else str(value)


def _table_groups(entry: Entry, asked: Asked) -> dict[Key, Moments]:
    import pyarrow as pa

    from edgeprof.profiler.remote_data.tables import opened_table

    assert entry.run is not None
    groups: dict[Key, Moments] = {}
    wanted = list(dict.fromkeys((*asked.columns, asked.column)))
    with opened_table(entry.run, asked.table) as file:
        _refuse_missing(asked, wanted, file.schema_arrow.names)
        for batch in file.iter_batches(_ROWS, columns=wanted, use_threads=False):
            for key, found in grouped(pa.Table.from_batches([batch]), asked.column, asked.columns):
                groups[key] = groups.get(key, Moments()) + found
            _refuse_many(groups)
    return groups


def _metrics(entry: Entry, asked: Asked) -> dict[Key, Moments]:
    import pyarrow as pa
    import pyarrow.compute as pc

    from edgeprof.profiler.run import read_parquet

    assert entry.run is not None
    path = entry.run.path / "metrics.parquet"
    if not path.is_file():
        raise NoSuchTable(METRICS, entry.run.tables)
    try:
        table = read_parquet(path)
        _refuse_missing(asked, [*asked.columns, asked.column], table.column_names)
        if asked.metric is not None:
            table = table.filter(pc.equal(table["name"], asked.metric))
            if "phase" not in asked.columns:
                table = table.filter(pc.is_null(table["phase"]))
            if not table.num_rows:
                raise EdgeprofError(f"it has no metric {asked.metric}")
    except (OSError, pa.ArrowException, KeyError):
        raise EdgeprofError("its metrics are damaged; `edgeprof ingest --force` makes them anew") from None
    return dict(grouped(table, asked.column, asked.columns))


def _refuse_missing(asked: Asked, wanted: Sequence[str], present: Sequence[str]) -> None:
    for name in wanted:
        if name not in present:
            raise EdgeprofError(f"neither its factors nor its table {asked.table} have a column {name}")


def _refuse_many(groups: dict[Key, Moments]) -> None:
    if len(groups) > MOST_GROUPS:
        raise EdgeprofError(f"there are more than {MOST_GROUPS:,} groups; group by something that has fewer values")


def _table(found: Sequence[str], names: Sequence[str], groups: dict[Key, Moments]) -> pa.Table:
    """The result, with the columns in the order of ``names``; ``found`` is their order in the keys."""
    import pyarrow as pa

    order = [found.index(name) for name in names]
    groups = {tuple(key[number] for number in order): moments for key, moments in groups.items()}
    keys = sorted(groups, key=lambda key: [(value is None, str(type(value)), value or 0) for value in key])
    rows = [groups[key] for key in keys]
    columns: dict[str, Any] = {name: column_of([key[number] for key in keys]) for number, name in enumerate(names)}
    columns["runs"] = pa.array([row.runs for row in rows], pa.int64())
    columns["count"] = pa.array([row.count for row in rows], pa.int64())
    columns["sum"] = _sums([row.sum if row.count else None for row in rows])
    columns["mean"] = pa.array([row.mean if row.count else None for row in rows], pa.float64())
    columns["min"] = column_of([row.least for row in rows])
    columns["max"] = column_of([row.greatest for row in rows])
    columns["stddev"] = pa.array([row.stddev for row in rows], pa.float64())
    return pa.table(columns)


def _sums(values: list[int | float | None]) -> pa.Array:
    """Whole sums as 64-bit numbers where they fit, else as decimals."""
    import pyarrow as pa

    if any(isinstance(value, int) and abs(value) >= 1 << 63 for value in values):
        return pa.array([None if value is None else Decimal(value) for value in values], pa.decimal128(38, 0))
    return column_of(values)
