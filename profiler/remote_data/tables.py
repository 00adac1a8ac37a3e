"""Tables of runs at an address, as DuckDB and pyarrow read them there: by ranges of bytes, without a copy here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.remote_data.address import Found, RemoteError, child, open_address, split, telling
from edgeprof.profiler.remote_data.mirror import marked_at, tables_at
from edgeprof.profiler.run import Run, is_parquet


@contextmanager
def opened_table(run: Run, name: str) -> Iterator[Any]:
    """A table of a run as a `pyarrow.parquet.ParquetFile`: its file here, else the one at the run's address.

    Raises:
        NoSuchTable: the run has none.
        RemoteError: its address cannot be read.
        EdgeprofError: the table is damaged.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    path = run.path / "tables" / f"{name}.parquet"
    marked = marked_at(run.path)
    if marked is None or path.is_file() or not run.has(name):
        source: Any = run.table_file(name)
        where, advice = f"the table {name} of {run.path}", "`edgeprof ingest --force` makes it anew"
    else:
        from edgeprof.profiler.remote_data.listed import ListedFiles

        place, there = open_address(marked.address), tables_at(run.path)[name]
        where, advice = place.url(there), "push the run again with --force"
        source = ListedFiles(place, {there: marked.files[there]}).open(place.path(there), "rb")
    with telling(where):
        try:
            with ParquetFile(source) as file:
                yield file
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, pa.ArrowException) and error.errno is not None:
                raise
            raise EdgeprofError(f"{where} is damaged; {advice}") from None


@dataclass(frozen=True)
class RemoteTables:
    """Tables at one address.

    Attributes:
        fs: all of them as a file system.
        files: table name -> addresses of its Parquet files that are not here yet.
    """

    fs: Any
    files: dict[str, list[str]]

    @classmethod
    def of(cls, runs: Sequence[Path]) -> RemoteTables | None:
        """Those of mirrored runs of one folder that were not fetched before; None where there are none.

        Raises:
            RemoteError: the runs are at several addresses.
        """
        files: dict[str, list[str]] = {}
        about: dict[str, Found] = {}
        folders: set[str] = set()
        for run in runs:
            marked = marked_at(run)
            if marked is None:
                continue
            folder, run_id = split(marked.address)
            folders.add(folder)
            for table, name in tables_at(run).items():
                if not (run / "tables" / f"{table}.parquet").is_file():
                    files.setdefault(table, []).append(child(marked.address, name))
                    about[f"{run_id}/{name}"] = marked.files[name]
        if len(folders) > 1:
            raise RemoteError("the runs are at several addresses; ask each of them by itself with --folder")
        if not files:
            return None
        from edgeprof.profiler.remote_data.listed import ListedFiles

        return cls(ListedFiles(open_address(folders.pop()), about), files)

    def register(self, connection: Any) -> None:
        """Let a DuckDB connection read them by fsspec; its own extension would have to be downloaded."""
        connection.register_filesystem(self.fs)

    def prepare(self, urls: Sequence[str]) -> None:
        """Before the files of a table are opened one after another.  Raises RemoteError."""
        self.fs.fetch_small([url for url in urls if "://" in url])

    def canonical(self) -> list[str]:
        """The addresses as the file system spells them, where DuckDB is told which it may read."""
        return [self.fs.unstrip_protocol(self.fs._strip_protocol(url)) for urls in self.files.values() for url in urls]

    def is_parquet(self, url: str) -> bool:
        """Whether a file there is a whole Parquet file.

        Raises:
            RemoteError: it cannot be asked for.
        """
        with telling(url), self.fs.open(url, "rb") as file:
            return is_parquet(file)
