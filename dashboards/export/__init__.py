"""Exports a run to formats that other tools read; `FORMATS` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeprof.dashboards.export import csv, perfetto, pyperf
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import Run

Exporter = Callable[[Run, Path], Path]
"""Writes a run to a path and returns what it wrote.  Raises CannotWrite, NotIngested."""

FORMATS: Mapping[str, Exporter] = {
    "perfetto": perfetto.write,
    "csv": csv.write,
    "pyperf": pyperf.write,
}
"""Name -> exporter; to add a format, write its module and name it here."""


class UnknownFormat(EdgeprofError):
    """A format that no exporter writes."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no export format {name!r}; choose one of: {', '.join(sorted(FORMATS))}")


class DamagedTable(EdgeprofError):
    """A table whose file is not what ingest wrote."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"a table of {path} cannot be read ({why}); make the tables again with `edgeprof ingest {path}`"
        )


def export(run: Run, format: str, path: str | Path) -> Path:
    """Write ``run`` to ``path`` in a format of `FORMATS` and return the path.

    Args:
        run: an ingested run.
        format: ``perfetto`` (a file; compressed when its name ends in .gz), ``csv`` (a folder) or
            ``pyperf`` (a file).
        path: what to write; a file that is there is replaced.

    Raises:
        UnknownFormat, CannotWrite, DamagedTable
        NotIngested: the run has no tables.
    """
    exporter = FORMATS.get(format)
    if exporter is None:
        raise UnknownFormat(format)
    import pyarrow as pa

    try:
        return exporter(run, Path(path))
    except (pa.ArrowException, OSError) as error:
        raise DamagedTable(run.path, str(error)) from None


__all__ = ["FORMATS", "DamagedTable", "UnknownFormat", "export"]
