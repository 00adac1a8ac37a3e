"""Keeps the index of a folder between two starts, in the user's cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprof.dashboards.app.rows import IDENTITY, Column, columns_json, columns_of
from edgeprof.profiler.files import CannotWrite, replacing

if TYPE_CHECKING:
    import pyarrow as pa

_log = logging.getLogger(__name__)
_VERSION = b"2"


def place(folder: Path) -> Path:
    """The file that keeps the index of a folder: ``$XDG_CACHE_HOME/edgeprof/index/<hash of the folder>.parquet``."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]
    return root / "edgeprof" / "index" / f"{name}.parquet"


def load(path: Path, folder: Path) -> tuple[pa.Table, dict[str, Column]] | None:
    """The stored rows and their columns; None where there are none, or they are damaged, older or of another folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            about = file.schema_arrow.metadata or {}
            if about.get(b"version") != _VERSION or about.get(b"folder") != os.fsencode(folder.resolve()):
                return None
            columns = columns_of(about[b"columns"].decode())
            table = file.read().replace_schema_metadata(None)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, pa.ArrowException) as error:
        _log.debug("no stored index: %s", error)
        return None
    known = {pa.string(), pa.float64()}
    whole = set(IDENTITY) <= set(table.column_names) <= set(columns)
    return (table, columns) if whole and {field.type for field in table.schema} <= known else None


def save(path: Path, folder: Path, table: pa.Table, columns: Mapping[str, Column]) -> None:
    """Store the rows, replacing older ones at once; where that cannot be, the next start reads the runs again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {
        b"version": _VERSION,
        b"folder": os.fsencode(folder.resolve()),
        b"columns": columns_json({name: columns[name] for name in table.column_names}).encode(),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(path) as temporary:
            pq.write_table(table.replace_schema_metadata(about), temporary, compression="zstd")
    except (OSError, CannotWrite, pa.ArrowException) as error:
        _log.debug("the index is not stored: %s", error)
