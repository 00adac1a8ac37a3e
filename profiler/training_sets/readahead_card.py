"""What a training set *read-ahead* is, from its file alone: cells and their choices, splits, columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgeprof.profiler.training_sets.about import read_made
from edgeprof.profiler.training_sets.card import ColumnFacts, column_facts, missing_values
from edgeprof.profiler.training_sets.errors import NotATrainingSet
from edgeprof.profiler.training_sets.readahead_schema import NAME, SCOPES, VERSION
from edgeprof.profiler.training_sets.schema import SPLITS

_COUNTED = ("scope", "split_time", "split_workload")
_NONE = "none"


@dataclass(frozen=True)
class ReadAheadCard:
    """The data card.

    Attributes:
        about: how the set was made: features, length of the windows, cells (workload, machine, situation; the
            throughput of each setting and the one to choose), splits, runs, skipped runs.
        counts: ``scope``, ``split_time``, ``split_workload`` -> value (``none``: in no part) -> windows.
    """

    path: Path
    bytes: int
    rows: int
    about: dict[str, Any]
    columns: tuple[ColumnFacts, ...]
    counts: dict[str, dict[str, int]]


def read_about(path: Path) -> dict[str, Any]:
    """How a training set was made.

    Raises:
        NotATrainingSet: the file is none of read-ahead, or damaged.
        EdgeprofError: it cannot be read, or is of a newer edgeprof.
    """
    about = read_made(path, NAME, VERSION)
    if not _is_whole(about):
        raise NotATrainingSet(path, "what it says of its making is damaged", NAME)
    return about


def describe(path: Path) -> ReadAheadCard:
    """Read the card of a training set.

    Raises:
        NotATrainingSet, EdgeprofError: see `read_about`.
    """
    about = read_about(path)
    try:
        with pq.ParquetFile(path) as file:
            missing, rows = missing_values(file), file.metadata.num_rows
            columns = tuple(column_facts(field, missing.get(field.name, 0)) for field in file.schema_arrow)
            table = file.read(list(_COUNTED))
        counts = {name: _counts(table[name]) for name in _COUNTED}
    except (OSError, ValueError, KeyError, pa.ArrowException):
        raise NotATrainingSet(path, "its columns are damaged", NAME) from None
    return ReadAheadCard(path, path.stat().st_size, rows, about, columns, counts)


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    found = {item["values"]: item["counts"] for item in pc.value_counts(column.cast(pa.string())).to_pylist()}
    names = (*SCOPES, *SPLITS, None)
    return {name or _NONE: found[name] for name in names if name in found}


def _is_whole(about: Mapping[str, Any]) -> bool:
    """Whether it has the shape that its readers rely on."""
    features, cells, runs, skipped = (about.get(key) for key in ("features", "cells", "runs", "skipped"))
    lists = all(
        isinstance(part, list) and all(isinstance(item, dict) for item in part) for part in (cells, runs, skipped)
    )
    if not lists or not isinstance(features, dict) or not isinstance(features.get("version"), int):
        return False
    names = features.get("names")
    return (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and isinstance(about.get("window_seconds"), int | float)
        and all(_is_cell(cell) for cell in about["cells"])
    )


def _is_cell(cell: Mapping[str, Any]) -> bool:
    settings = cell.get("settings")
    if not isinstance(settings, list) or not settings or not isinstance(cell.get("best_kib"), int):
        return False
    if not isinstance(cell.get("spread"), float | None):
        return False
    return all(isinstance(cell.get(key), str) for key in ("workload", "machine", "situation")) and all(
        isinstance(item, dict)
        and isinstance(item.get("kib"), int)
        and isinstance(item.get("runs"), int)
        and isinstance(item.get("relative"), float)
        and isinstance(item.get("throughput"), float)
        and isinstance(item.get("tied"), bool)
        for item in settings
    )
