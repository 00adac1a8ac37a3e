"""Exports each table of a run as one Arrow IPC file (also called Feather V2); units stand in the columns' metadata.

Format: "Arrow Columnar Format", section "IPC File Format", Apache Arrow.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from edgeprof.dashboards.export.part import WHOLE, Part
from edgeprof.dashboards.export.tables import make_folder, table_files
from edgeprof.profiler.files import replacing
from edgeprof.profiler.run import Run, read_parquet


def write(run: Run, path: Path, part: Part = WHOLE) -> Path:
    """Write ``<table>.arrow`` for each table, and metrics.arrow where metrics were made, into a folder.

    The files are not compressed, so that they can be mapped into memory.  Metrics are those of the whole run.

    Raises:
        NotIngested: the run has no tables.
        EmptyPart, NoSuchPhase: see `Part.spans`.
        CannotWrite: the folder cannot be made or written to, or is a file.
    """
    files = table_files(run)
    spans = part.spans(run)
    make_folder(path)
    for name, file in files.items():
        rows = spans.rows(read_parquet(file)).unify_dictionaries()  # the format has one dictionary a column and file
        with replacing(path / f"{name}.arrow") as temporary, pa.ipc.new_file(temporary, rows.schema) as writer:
            writer.write_table(rows)
    return path
