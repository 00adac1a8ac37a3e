"""The data behind a figure as CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from edgeprof.dashboards.report.figures.base import DataTable
from edgeprof.dashboards.report.text import clean
from edgeprof.dashboards.spreadsheet import harmless

if TYPE_CHECKING:
    import pyarrow as pa


def of_table(table: DataTable) -> bytes:
    """The figures behind a picture, as they stand on the page."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_cell, table.columns))
    writer.writerows(map(_cell, row) for row in table.rows)
    return out.getvalue().encode()


def of_rows(rows: pa.Table) -> bytes:
    """Rows of a table: numbers as they are stored, with the columns' units in their names."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_head(field) for field in rows.schema)
    for batch in rows.to_batches(max_chunksize=10_000):
        writer.writerows(map(_cell, row) for row in zip(*(c.to_pylist() for c in batch.columns), strict=True))
    return out.getvalue().encode()


def _head(field: pa.Field) -> str:
    unit = (field.metadata or {}).get(b"unit")
    return str(_cell(f"{field.name} ({unit.decode('utf-8', 'replace')})" if unit else field.name))


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float) else harmless(clean(value))
