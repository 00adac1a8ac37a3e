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
from edgeprof.profiler.dataset import Entry, named
from edgeprof.profiler.errors import NoRuns, QueryFailed
from edgeprof.profiler.remote_data.marker import RUN_MARKER
from edgeprof.profiler.run import is_parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from edgeprof.profiler.remote_data.tables import RemoteTables

METRICS = "metrics"
RUN_COLUMNS = ("name", "command", "started", "ended", "status", "exit_code", "signal", "wall_time")


class Dataset:
    """Views over runs: one for each table name, ``metrics`` and ``runs`` (one row a run, factors flattened).

    Tables of runs at an address are read there, column by column, and only those that a statement names are opened.

    ``skipped`` lists table files that are damaged, and so left out.  Close it, or use it in a ``with`` statement.

    Raises:
        NoRuns: there is no run that can be read.
        QueryFailed: the tables cannot be opened together.
    """

    def __init__(self, entries: Sequence[Entry], folder: Path) -> None:
        import duckdb

        self._entries = [entry for entry in entries if entry.run is not None]
        if not self._entries:
            raise NoRuns(named(folder))
        self.skipped: list[str] = []
        self._remote = remote_tables(self._entries)
        self._unopened: dict[str, list[str]] = {}
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
        if self._remote is not None:
            for name, addresses in self._remote.files.items():
                files[name] = [*files.get(name, ()), *addresses]
            self._remote.register(connection)
        # Each as itself, and as the pattern that means only itself: DuckDB checks the text that it is given, too.
        allowed = [text for paths in files.values() for path in paths for text in (path, _unglobbed(path))]
        allowed += self._remote.canonical() if self._remote is not None else []
        connection.execute(f"set allowed_paths = [{', '.join(map(_literal, allowed))}]")
        connection.execute("set autoinstall_known_extensions = false")
        self._make_runs_table()
        if self._remote is not None:
            self._unopened = {name: files.pop(name) for name in self._remote.files}
        for name, paths in files.items():
            self._make_view(name, paths)
        connection.execute("set enable_external_access = false")
        connection.execute("set lock_configuration = true")

    def _make_runs_table(self) -> None:
        import pyarrow as pa

        rows = [run_row(entry) for entry in self._entries]
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {name: column_of([row.get(name) for row in rows]) for name in names}
        self._connection.register("runs_rows", pa.table(columns))
        self._connection.execute("create table runs as select * from runs_rows")
        self._connection.unregister("runs_rows")

    def _open_named(self, sql: str) -> None:
        """Open the views at an address that a statement names; all of them, where it names none (``show tables``)."""
        if not self._unopened:
            return
        words = {word.lower() for word in re.findall(r"\w+", sql)}
        everything = not words & {"runs", METRICS, *(name.lower() for name in table_names(self._entries))}
        for name in [name for name in self._unopened if everything or name.lower() in words]:
            paths = self._unopened.pop(name)
            if self._remote is not None:
                self._remote.prepare(paths)
            self._make_view(name, paths)

    def _make_view(self, name: str, paths: Sequence[str]) -> None:
        """A table of all runs; the run's id comes from the file's directory.  Damaged files are left out."""
        import duckdb

        try:
            self._connection.execute(_view(name, paths))
        except duckdb.Error:
            usable = [path for path in paths if self._is_whole(path)]
            self.skipped += [path for path in paths if path not in usable]
            if len(usable) == len(paths):
                raise  # the files are whole, so the reason is another
            if usable:
                self._connection.execute(_view(name, usable))

    def _is_whole(self, path: str) -> bool:
        if self._remote is not None and "://" in path:
            return self._remote.is_parquet(path)
        return is_parquet(path)

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
            self._open_named(sql)
            return self._connection.sql(sql).to_arrow_table()
        except duckdb.Error as error:
            raise QueryFailed(first_line(error)) from None


def _view(name: str, paths: Sequence[str]) -> str:
    run_id = f"string_split(filename, '/')[{-2 if name == METRICS else -3}]"
    files = ", ".join(_literal(_unglobbed(path)) for path in paths)
    source = f"read_parquet([{files}], union_by_name = true, filename = true)"
    return f"create view {_quoted(name)} as select {run_id} as run_id, * exclude (filename) from {source}"  # noqa: S608


def _unglobbed(path: str) -> str:
    """A path that DuckDB does not take for a pattern."""
    return re.sub(r"[*?[]", r"[\g<0>]", path)


def remote_tables(entries: Sequence[Entry]) -> RemoteTables | None:
    """Tables of the runs that are at an address; None where all are here."""
    if not any((entry.path / RUN_MARKER).is_file() for entry in entries):
        return None
    from edgeprof.profiler.remote_data.tables import RemoteTables

    return RemoteTables.of([entry.path for entry in entries])


def table_names(entries: Sequence[Entry]) -> set[str]:
    """Names of the tables of all runs, here or at an address."""
    return {name for entry in entries if entry.run is not None for name in entry.run.tables}


def table_files(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """View name -> its Parquet files that are here, over all runs."""
    files: dict[str, list[str]] = {}
    for entry in entries:
        folder = entry.path.resolve()
        for path in sorted((folder / "tables").glob("*.parquet")):
            if path.stem not in ("runs", METRICS):
                files.setdefault(path.stem, []).append(str(path))
        if (folder / "metrics.parquet").is_file():
            files.setdefault(METRICS, []).append(str(folder / "metrics.parquet"))
    return files


def run_row(entry: Entry) -> dict[str, Any]:
    """One row of the view ``runs``: identity, outcome, overhead, verdict and factors (``storage_device``, ...)."""
    assert entry.run is not None
    manifest = entry.run.manifest
    row: dict[str, Any] = {"run_id": entry.id, "path": _place(entry.path)}
    for name in RUN_COLUMNS:
        value = manifest["run"].get(name)
        row[name] = " ".join(map(str, value)) if isinstance(value, list) else value
    row["bound_by"] = (manifest.get("verdict") or {}).get("bound_by")
    row["overhead_cpu_share"] = manifest["overhead"].get("cpu_share")
    factors: Mapping[str, Any] = manifest.get("factors") or {}
    for name, value in flatten(factors).items():
        row.setdefault(name.replace(".", "_"), value)
    return row


def _place(run: Path) -> str:
    told = named(run)
    return told if "://" in told else str(run.resolve())


def column_of(values: list[Any]) -> pa.Array:
    """A column of values of one kind as they are; of mixed kinds, as text."""
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
