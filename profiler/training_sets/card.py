"""What a training set is, from its file alone: sources, counts, balance, missing values, splits, columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgeprof.profiler.training_sets.about import read_made
from edgeprof.profiler.training_sets.errors import NotATrainingSet
from edgeprof.profiler.training_sets.schema import NAME, SPLITS, VERSION


@dataclass(frozen=True)
class Part:
    """Some of the examples: how many, how many of them have a deadline and missed it, and their latencies (s)."""

    rows: int
    with_deadline: int
    missed: int
    latency_p50: float | None
    latency_p99: float | None


@dataclass(frozen=True)
class ColumnFacts:
    """A column: type, unit, what it is for, what it means, and in how many examples it is missing."""

    name: str
    type: str
    unit: str
    role: str
    about: str
    missing: int


@dataclass(frozen=True)
class Card:
    """The data card.

    Attributes:
        about: how the set was made, as `edgeprof dataset build` wrote it: version, moment of prediction, deadlines,
            splits, runs, skipped runs.
        splits: ``split_time`` and ``split_workload`` -> part (``none``: in no part) -> its examples.
        devices: (machine, device, operation) and the examples of each.
    """

    path: Path
    bytes: int
    rows: int
    about: dict[str, Any]
    columns: tuple[ColumnFacts, ...]
    operations: dict[str, Part]
    splits: dict[str, dict[str, Part]]
    devices: tuple[tuple[str, str, str, Part], ...]


def read_about(path: Path) -> dict[str, Any]:
    """How a training set was made.

    Raises:
        NotATrainingSet: the file is none, or damaged.
        EdgeprofError: it cannot be read, or is of a newer edgeprof.
    """
    about = read_made(path, NAME, VERSION)
    if not _is_whole(about):
        raise NotATrainingSet(path, "what it says of its making is damaged")
    return about


def _is_whole(about: Mapping[str, Any]) -> bool:
    """Whether it has the shape that its readers rely on."""
    deadlines = about.get("deadlines")
    if not isinstance(deadlines, dict):
        return False
    quantile = deadlines.get("quantile")
    lists = (about.get("runs"), about.get("skipped"), deadlines.get("of"))
    if not all(isinstance(part, list) and all(isinstance(item, dict) for item in part) for part in lists):
        return False
    splits = about.get("splits")
    workloads = splits.get("workload") if isinstance(splits, dict) else None
    if not isinstance(workloads, dict) or not all(isinstance(part, str) for part in workloads.values()):
        return False
    cuts = [run.get("split_time_ns") or [0, 0] for run in about["runs"]]
    counts = [run.get("dropped", {}) for run in about["runs"]]
    facts = [run.get("devices", {}) for run in about["runs"]]
    return (
        isinstance(quantile, int | float | None)
        and all(isinstance(item, dict) and all(isinstance(n, int) for n in item.values()) for item in counts)
        and all(isinstance(item, dict) and all(isinstance(d, dict) for d in item.values()) for item in facts)
        and all(isinstance(item.get("seconds"), int | float) for item in deadlines["of"])
        and all(isinstance(item.get(key), str) for item in deadlines["of"] for key in ("machine", "device", "op"))
        and all(isinstance(run.get(key), str) for run in about["runs"] for key in ("run", "workload"))
        and all(isinstance(pair, list) and len(pair) == 2 for pair in cuts)
        and all(isinstance(at, int) for pair in cuts for at in pair)
    )


def describe(path: Path) -> Card:
    """Read the card of a training set.

    Raises:
        NotATrainingSet, EdgeprofError: see `read_about`.
    """
    about = read_about(path)
    names = ("machine", "device", "op", "latency", "missed", *_SPLIT_COLUMNS)
    try:
        with pq.ParquetFile(path) as file:
            arrow, rows = file.schema_arrow, file.metadata.num_rows
            missing = missing_values(file)
            table = file.read(list(names))
        columns = {name: table[name] for name in names}
        latency = columns["latency"].to_numpy()
        missed = pc.fill_null(columns["missed"].cast(pa.int8()), -1).to_numpy()
        texts = {name: _codes(columns[name]) for name in ("machine", "device", "op", *_SPLIT_COLUMNS)}
    except (OSError, ValueError, KeyError, pa.ArrowException):
        raise NotATrainingSet(path, "its columns are damaged") from None
    machine, device, operation = (texts[name] for name in ("machine", "device", "op"))
    return Card(
        path=path,
        bytes=path.stat().st_size,
        rows=rows,
        about=about,
        columns=tuple(column_facts(field, missing.get(field.name, 0)) for field in arrow),
        operations=_parts(operation, latency, missed),
        splits={name: _ordered(_parts(texts[name], latency, missed)) for name in _SPLIT_COLUMNS},
        devices=_devices(machine, device, operation, latency, missed),
    )


_SPLIT_COLUMNS = ("split_time", "split_workload")
_NONE = "none"
Codes = tuple[npt.NDArray[np.int64], list[str]]


def column_facts(field: pa.Field, missing: int) -> ColumnFacts:
    """What a field of the file says of its column."""
    told = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in _metadata(field).items()}
    kind = "text" if pa.types.is_dictionary(field.type) else str(field.type)
    return ColumnFacts(field.name, kind, told.get("unit", ""), told.get("role", ""), told.get("about", ""), missing)


def _metadata(field: pa.Field) -> Mapping[bytes, bytes]:
    return field.metadata or {}


def missing_values(file: pq.ParquetFile) -> dict[str, int]:
    """Nulls of each column; counted, since asking a damaged file for its statistics ends the process (pyarrow 26)."""
    return {name: file.read([name])[name].null_count for name in file.schema_arrow.names}


def _codes(column: pa.ChunkedArray) -> Codes:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, [*(str(value) for value in encoded.dictionary.to_pylist()), _NONE]


def _parts(codes: Codes, latency: npt.NDArray[np.float64], missed: npt.NDArray[np.int8]) -> dict[str, Part]:
    numbers, names = codes
    return {names[number]: _part(numbers == number, latency, missed) for number in np.unique(numbers).tolist()}


def _part(chosen: npt.NDArray[np.bool_], latency: npt.NDArray[np.float64], missed: npt.NDArray[np.int8]) -> Part:
    values, flags = latency[chosen], missed[chosen]
    middle, high = np.quantile(values, [0.5, 0.99]).tolist() if len(values) else (None, None)
    return Part(len(values), int((flags >= 0).sum()), int((flags == 1).sum()), middle, high)


def _ordered(parts: dict[str, Part]) -> dict[str, Part]:
    return {name: parts[name] for name in (*SPLITS, _NONE) if name in parts}


def _devices(
    machine: Codes, device: Codes, operation: Codes, latency: npt.NDArray[np.float64], missed: npt.NDArray[np.int8]
) -> tuple[tuple[str, str, str, Part], ...]:
    names = (machine[1], device[1], operation[1])
    # Null is the code -1 and the last name: one added makes the codes count from 0.
    shape = tuple(len(each) for each in names)
    together = np.ravel_multi_index((machine[0] + 1, device[0] + 1, operation[0] + 1), shape)
    found = []
    for number in np.unique(together).tolist():
        at = np.unravel_index(number, shape)
        words = tuple(each[int(code) - 1] for each, code in zip(names, at, strict=True))
        found.append((words[0], words[1], words[2], _part(together == number, latency, missed)))
    return tuple(sorted(found, key=lambda item: item[:3]))
