"""A run's block requests as arrays, and the windows of time in which all of them were captured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.collectors.tracefs.events import read_windows
from edgeprof.profiler.run import Run, read_parquet
from edgeprof.profiler.training_sets.errors import Unusable
from edgeprof.profiler.training_sets.features import NEVER, OPERATIONS, OTHER, UNKNOWN, Int32, Int64, Mask

_LARGEST = (1 << 55) - 1
"""Larger numbers are damage: no device has so many sectors, no clock such a time (over a year in ns)."""
_TIMES = ("queued_ns", "inserted_ns", "issued_ns", "completed_ns")
_NUMBERS = (*_TIMES, "dev", "sector", "bytes", "error")
_AT_INSERTION = ("inserted_sector", "inserted_bytes")
_TEXTS = ("device", "op", "flags", "owner")


@dataclass(frozen=True)
class Text:
    """A text column: index into ``values``, -1 where it is null."""

    codes: Int32
    values: tuple[str, ...]

    def where(self, chosen: Mapping[str, int], default: int) -> Int32:
        """Each row's number by its text."""
        numbers = np.array([*(chosen.get(value, default) for value in self.values), default], np.int32)
        result: Int32 = numbers[self.codes]
        return result

    def take(self, rows: Int64) -> Text:
        """The rows of an index."""
        return Text(self.codes[rows], self.values)


@dataclass(frozen=True)
class Captured:
    """The requests of a run, in the table's order; numbers are `UNKNOWN` where the table has null.

    Attributes:
        moment: when each arrived (see `docs/datasets.md`), ns.
        at_insertion: whether that was its insertion; else its issue.
        first_seen: when it was allocated, inserted or issued, whichever was seen first.
        sector, length: as at the moment.
        final_length: as issued.
    """

    moment: Int64
    at_insertion: Mask
    completed: Int64
    first_seen: Int64
    dev: Int64
    sector: Int64
    length: Int64
    final_length: Int64
    error: Int64
    op: Int32
    device: Text
    flags: Text
    owner: Text

    def __len__(self) -> int:
        return len(self.moment)


def read_captured(run: Run) -> Captured:
    """The table ``block_io`` of a run.

    Raises:
        Unusable: there is none, or it is damaged.
    """
    if not run.has("block_io"):
        raise Unusable("it has no table block_io")
    path = run.table_file("block_io")
    try:
        present = set(_columns_of(path))
        missing = {*_NUMBERS, *_TEXTS} - present
        if missing:
            raise Unusable(f"its table block_io has no column {min(missing)}")
        table = read_parquet(path, [*_NUMBERS, *_TEXTS, *(name for name in _AT_INSERTION if name in present)])
        numbers = {name: _numbers(table, name) for name in (*_NUMBERS, *_AT_INSERTION)}
        texts = {name: _text(table[name]) for name in _TEXTS}
    except (OSError, ValueError, pa.ArrowException):
        raise Unusable("its table block_io is damaged") from None
    return _captured(numbers, texts)


def _captured(numbers: Mapping[str, Int64], texts: Mapping[str, Text]) -> Captured:
    at_insertion = (numbers["inserted_ns"] != UNKNOWN) & (numbers["inserted_bytes"] != UNKNOWN)
    first_seen = numbers["queued_ns"]
    for name in ("inserted_ns", "issued_ns"):
        first_seen = np.where(first_seen == UNKNOWN, numbers[name], first_seen)
    return Captured(
        moment=np.where(at_insertion, numbers["inserted_ns"], numbers["issued_ns"]),
        at_insertion=at_insertion,
        completed=numbers["completed_ns"],
        first_seen=first_seen,
        dev=numbers["dev"],
        sector=np.where(at_insertion, numbers["inserted_sector"], numbers["sector"]),
        length=np.where(at_insertion, numbers["inserted_bytes"], numbers["bytes"]),
        final_length=np.maximum(numbers["bytes"], 0),
        error=numbers["error"],
        op=texts["op"].where({name: number for number, name in enumerate(OPERATIONS)}, OTHER),
        device=texts["device"],
        flags=texts["flags"],
        owner=texts["owner"],
    )


def _columns_of(path: Any) -> list[str]:
    from pyarrow.parquet import read_schema

    names: list[str] = read_schema(path).names
    return names


def _numbers(table: pa.Table, name: str) -> Int64:
    """A column of whole numbers; null, negative and impossible ones are `UNKNOWN`."""
    if name not in table.column_names:
        return np.full(table.num_rows, UNKNOWN, np.int64)
    values: Int64 = pc.fill_null(table[name].cast(pa.int64()), UNKNOWN).to_numpy()
    return np.where((values < 0) | (values > _LARGEST), UNKNOWN, values)


def _text(column: pa.ChunkedArray) -> Text:
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return Text(codes, tuple(str(value) for value in encoded.dictionary.to_pylist()))


def collector_entry(run: Run, name: str) -> Mapping[str, Any]:
    """What the manifest says of a collector; empty where it says nothing."""
    return next((item for item in run.manifest["collectors"] if item.get("name") == name), {})


def windows_of(run: Run, captured: Captured) -> list[tuple[int, int]]:
    """When every request was captured: (begin, end) in ns, in order; the end is `NEVER` where the capture's is.

    Raises:
        Unusable: requests are missing at unknown times, so that no queue length could be trusted.
    """
    entry = collector_entry(run, "block")
    lost = entry.get("lost")
    if lost != 0:
        counted = "an unknown number of" if lost is None else f"{lost}"
        raise Unusable(f"{counted} records of its block requests were lost, so queue lengths are not known")
    found = read_windows(_trace_folder(run, entry))
    if found:
        return [(begin, end or NEVER) for begin, end in found]
    if entry.get("mode") == "sampled":
        raise Unusable("its block requests were captured in windows of time, and raw/, which tells when, is gone")
    start = run.manifest["run"].get("start_ns")
    times = captured.moment[captured.moment != UNKNOWN]
    first = int(times.min()) if len(times) else NEVER
    return [(min(first, start) if start else first, NEVER)]


def _trace_folder(run: Run, entry: Mapping[str, Any]) -> Any:
    raw = run.path / "raw"
    details = entry.get("details")
    backend = details.get("backend") if isinstance(details, Mapping) else None
    return {"blk": raw / "block" / "blk" / "tracefs", "blktrace": raw / "block" / "none"}.get(
        str(backend), raw / "tracefs"
    )
