"""Exports each table of a run as one CSV file, with the columns' units beside them in columns.csv.

Text that a spreadsheet would compute begins with an apostrophe.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from edgeprof.dashboards.export.part import WHOLE, Part, Spans
from edgeprof.dashboards.export.tables import make_folder, table_files
from edgeprof.dashboards.spreadsheet import harmless, harmless_texts
from edgeprof.profiler.files import replacing
from edgeprof.profiler.run import Run

COLUMNS_FILE = "columns.csv"


def write(run: Run, path: Path, part: Part = WHOLE) -> Path:
    """Write ``<table>.csv`` for each table, metrics.csv where metrics were made, and columns.csv into a folder.

    A null is an empty field; text is quoted as RFC 4180 asks.  Metrics are those of the whole run.

    Raises:
        NotIngested: the run has no tables.
        EmptyPart, NoSuchPhase: see `Part.spans`.
        CannotWrite: the folder cannot be made or written to, or is a file.
    """
    files = table_files(run)
    spans = part.spans(run)
    make_folder(path)
    for name, file in files.items():
        _convert(file, path / f"{name}.csv", spans)
    with replacing(path / COLUMNS_FILE) as temporary:
        arrow_csv.write_csv(_columns(files), temporary)
    return path


def _convert(source: Path, target: Path, spans: Spans) -> None:
    """One Parquet file to CSV, a batch at a time, so that a large table need not fit into memory."""
    with pq.ParquetFile(source) as file, replacing(target) as temporary:
        plain = pa.schema([pa.field(item.name, _plain(item.type)) for item in file.schema_arrow])
        with arrow_csv.CSVWriter(temporary, _harmless(plain.empty_table()).schema) as writer:
            for batch in file.iter_batches():
                writer.write_table(_harmless(spans.rows(pa.Table.from_batches([batch])).cast(plain)))


def _plain(kind: pa.DataType) -> pa.DataType:
    """What a column is in CSV: numbers and times as they are, all else as text."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind if pa.types.is_primitive(kind) else pa.string()


def _harmless(table: pa.Table) -> pa.Table:
    """A table whose text and whose columns' names are no formulas."""
    columns = [harmless_texts(item) if pa.types.is_string(item.type) else item for item in table.columns]
    return pa.table(columns, [harmless(name) for name in table.column_names])


def _columns(files: dict[str, Path]) -> pa.Table:
    rows = []
    for name, file in files.items():
        for item in pq.read_schema(file):
            unit = (item.metadata or {}).get(b"unit", b"").decode("utf-8", "replace")
            rows.append({"table": name, "column": item.name, "type": str(_plain(item.type)), "unit": unit})
    heads = pa.schema([(key, pa.string()) for key in ("table", "column", "type", "unit")])
    return _harmless(pa.Table.from_pylist(rows, heads))
