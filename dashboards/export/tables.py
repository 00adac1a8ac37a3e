"""What the exports of all tables share: the files to read, and the folder to write."""

from __future__ import annotations

from pathlib import Path

from edgeprof.profiler.errors import NotIngested
from edgeprof.profiler.files import CannotWrite
from edgeprof.profiler.run import Run


def table_files(run: Run) -> dict[str, Path]:
    """Table name -> its Parquet file, with ``metrics`` where metrics were made.  Raises NotIngested."""
    files = {name: run.table_file(name) for name in run.tables}
    if not files:
        raise NotIngested(run.path)
    metrics = run.path / "metrics.parquet"
    return {**files, "metrics": metrics} if metrics.is_file() else files


def make_folder(path: Path) -> Path:
    """Make a folder for tables where there is none.  Raises CannotWrite."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(path, error) from None
    return path
