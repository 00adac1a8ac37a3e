"""Exports runs to formats that other tools read; `FORMATS` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from edgeprof.dashboards.export import arrow, csv, openmetrics, perfetto, pyperf
from edgeprof.dashboards.export.part import WHOLE, EmptyPart, NoSuchPhase, Part
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.run import Run

CUT: Mapping[str, Callable[[Run, Path, Part], Path]] = {
    "perfetto": perfetto.write,
    "csv": csv.write,
    "arrow": arrow.write,
}
"""Formats that may hold a part of a run."""

WHOLE_RUN: Mapping[str, Callable[[Run, Path], Path]] = {
    "pyperf": pyperf.write,
    "openmetrics": openmetrics.write,
}
"""Formats of figures over the whole run."""

FORMATS = (*CUT, *WHOLE_RUN)
"""To add a format, write its module and name it in `CUT` or `WHOLE_RUN`."""


class UnknownFormat(EdgeprofError):
    """A format that no exporter writes."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no export format {name!r}; choose one of: {', '.join(sorted(FORMATS))}")


class CannotCut(EdgeprofError):
    """A part of a run was asked of a format that holds figures over whole runs."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} holds figures over a whole run; a part of one can be had as {', '.join(CUT)}")


class DamagedTable(EdgeprofError):
    """A table whose file is not what ingest wrote."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"a table of {path} cannot be read ({why}); make the tables again with `edgeprof ingest {path}`"
        )


def export(run: Run, format: str, path: str | Path, part: Part = WHOLE) -> Path:
    """Write ``run`` to ``path`` in a format of `FORMATS` and return the path.

    Args:
        run: an ingested run.
        format: ``perfetto`` (a file; compressed when its name ends in .gz), ``csv`` or ``arrow`` (a folder),
            ``pyperf`` or ``openmetrics`` (a file).
        path: what to write; a file that is there is replaced.
        part: the part of the run to write.

    Raises:
        UnknownFormat, CannotCut, CannotWrite, DamagedTable
        EmptyPart, NoSuchPhase: there is no such part.
        NotIngested: the run has no tables.
    """
    if format not in FORMATS:
        raise UnknownFormat(format)
    if part and format not in CUT:
        raise CannotCut(format)
    import pyarrow as pa

    try:
        return CUT[format](run, Path(path), part) if format in CUT else WHOLE_RUN[format](run, Path(path))
    except (pa.ArrowException, OSError) as error:
        raise DamagedTable(run.path, str(error)) from None


__all__ = ["FORMATS", "CannotCut", "DamagedTable", "EmptyPart", "NoSuchPhase", "Part", "UnknownFormat", "export"]
