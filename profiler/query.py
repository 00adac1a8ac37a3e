"""SQL over the runs of a folder, by DuckDB: one view a table, with the run's id in front.

The SQL is the user's, so it is held to reading, twice: only SELECT statements are run, and
DuckDB itself is locked to the very Parquet files of the chosen runs before it sees them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof.profiler.analysis.compare import flatten
from edgeprof.profiler.dataset import Entry
from edgeprof.profiler.errors import NoRuns, QueryFailed

if TYPE_CHECKING:
    import pyarrow as pa

METRICS = "metrics"
RUN_COLUMNS = ("name", "command", "started", "ended", "status", "exit_code", "signal", "wall_time")


class Dataset:
    """Views over runs: one for each table name, ``metrics`` and ``runs`` (one row a run, factors flattened).

    ``skipped`` lists table files that are damaged, and so left out.  Close it, or use it in a ``with`` statement.

    Raises:
        NoRuns: there is no run that can be read.
        QueryFailed: the tables cannot be opened together.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path) -> None:
        import duckdb

        self._entries = [entry for entry in entries if entry.run is not None]
        if not self._entries:
            raise NoRuns(folder)
        self.skipped: list[Path] = []
        self._connection = duckdb.connect(":memory:", config={"temp_directory": ""})
        try:
            self._open()
        except duckdb.Error as error:
            self._connection.close()
            raise QueryFailed(f"the tables cannot be opened: {first_line(error)}") from None

    def __enter__(self) -> Dataset:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _open(self) -> None:
        files = table_files(self._entries)
        connection = self._connection
        # Each as itself, and as the pattern that means only itself: DuckDB checks the text that it is given, too.
        allowed = [text for paths in files.values() for path in paths for text in (str(path), _unglobbed(path))]
        connection.execute(f"set allowed_paths = [{', '.join(map(_literal, allowed))}]")
        connection.execute("set autoinstall_known_extensions = false")
        self._make_runs_table()
        for name, paths in files.items():
            self._make_view(name, paths)
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")

    def _make_runs_table(self) -> None:
        import pyarrow as pa

        rows = [run_row(entry) for entry in self._entries]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: _column([row.get(name) for row in rows]) for name in names}
        self._connection.register("runs_rows", pa.table(columns))
        self._connection.execute("create table runs as select * from runs_rows")
        self._connection.unregister("runs_rows")

    def _make_view(self, name: str, paths: Sequence[Path]) -> None:
        """A table of all runs; the run's id comes from the file's directory.  Damaged files are left out."""
        import duckdb

        try:
            self._connection.execute(_view(name, paths))
        except duckdb.Error:
            usable = [path for path in paths if _is_parquet(path)]
            self.skipped += [path for path in paths if path not in usable]
            if len(usable) == len(paths):
                raise  # the files are whole, so the reason is another
            if usable:
                self._connection.execute(_view(name, usable))

    def query(self, sql: str) -> pa.Table:
        """The result of one SELECT statement (also FROM, WITH, VALUES, DESCRIBE, SUMMARIZE, SHOW).

        Raises:
            QueryFailed: it is not one SELECT statement, or DuckDB refuses it.
        """
        import duckdb

        try:
            statements = self._connection.extract_statements(sql)
            if len(statements) != 1:
                raise QueryFailed(f"give one statement, not {len(statements) or 'none'}")
            if statements[0].type != duckdb.StatementType.SELECT:
                raise QueryFailed("only SELECT statements are run; the data cannot be changed from here")
            return self._connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise QueryFailed(first_line(error)) from None


def _view(name: str, paths: Sequence[Path]) -> str:
    run_id = f"string_split(filename, '/')[{-2 if name == METRICS else -3}]"
    files = ", ".join(_literal(_unglobbed(path)) for path in paths)
    source = f"read_parquet([{files}], union_by_name = true, filename = true)"
    return f"create view {_quoted(name)} as select {run_id} as run_id, * exclude (filename) from {source}"  # noqa: S608


def _unglobbed(path: Path) -> str:
    """A path that DuckDB does not take for a pattern."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))


def _is_parquet(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def table_files(entries: Sequence[Entry]) -> dict[str, list[Path]]:
    """View name -> its Parquet files over all runs."""
    files: dict[str, list[Path]] = {}
    for entry in entries:
        folder = entry.path.resolve()
        for path in sorted((folder / "tables").glob("*.parquet")):
            if path.stem not in ("runs", METRICS):
                files.setdefault(path.stem, []).append(path)
        if (folder / "metrics.parquet").is_file():
            files.setdefault(METRICS, []).append(folder / "metrics.parquet")
    return files


def run_row(entry: Entry) -> dict[str, Any]:
    """One row of the view ``runs``: identity, outcome, overhead, verdict and factors (``storage_device``, ...)."""
    assert entry.run is not None
    manifest = entry.run.manifest
    row: dict[str, Any] = {"run_id": entry.id, "path": str(entry.path.resolve())}
    for name in RUN_COLUMNS:
        value = manifest["run"].get(name)
        row[name] = " ".join(map(str, value)) if isinstance(value, list) else value
    row["bound_by"] = (manifest.get("verdict") or {}).get("bound_by")
    row["overhead_cpu_share"] = manifest["overhead"].get("cpu_share")
    factors: Mapping[str, Any] = manifest.get("factors") or {}
    for name, value in flatten(factors).items():
        row.setdefault(name.replace(".", "_"), value)
    return row


def _column(values: list[Any]) -> pa.Array:
    """Values of one kind as they are; of mixed kinds, as text."""
    import pyarrow as pa

    try:
        array = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        array = pa.array([None if value is None else str(value) for value in values])
    return array.cast(pa.string()) if pa.types.is_null(array.type) else array


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def first_line(error: Exception) -> str:
    """DuckDB's message without the copy of the query under it."""
    return str(error).split("\n\n")[0].split("\nLINE ")[0].replace("\n", " ").strip()
