"""Turns captured page-cache events into the table ``page_cache``, with the files' paths where they are known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.page_cache.names import read_names
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.tracefs.events import EventColumns, Trace, read_trace
from edgeprof.collectors.tracefs.tasks import OWNERS

Ints = npt.NDArray[np.int64]

EVENTS = ("add", "delete", "fault", "map", "get", "readahead", "user_fault")
"""Values of the column ``event``."""

MAX_ORDER = 30
"""No folio is larger than this power of two of pages."""


@dataclass(frozen=True)
class _Source:
    """A tracepoint of the table: the event it becomes and how its number of pages is told.

    ``pages``: ``one``, ``order`` (2^order, one where the kernel has no such field), ``last`` (the field last_index,
    inclusive), or the name of a field.
    """

    system: str
    name: str
    event: str
    pages: str


SOURCES = (
    _Source("filemap", "mm_filemap_add_to_page_cache", "add", "order"),
    _Source("filemap", "mm_filemap_delete_from_page_cache", "delete", "order"),
    _Source("filemap", "mm_filemap_fault", "fault", "one"),
    _Source("filemap", "mm_filemap_map_pages", "map", "last"),
    _Source("filemap", "mm_filemap_get_pages", "get", "last"),
    _Source("readahead", "page_cache_ra_order", "readahead", "size"),
    _Source("readahead", "page_cache_ra_unbounded", "readahead", "nr_to_read"),
    _Source("exceptions", "page_fault_user", "user_fault", "none"),
)
"""Source: include/trace/events/filemap.h, readahead.h and exceptions.h of the kernel."""


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Read ``raw/tracefs`` and ``raw/page_cache``; the table's times are in order."""
    if not (raw / "page_cache").is_dir():
        return Parsed({"page_cache": schema.empty("page_cache")})
    trace = read_trace(raw)
    if not any(trace.has(source.system, source.name) for source in SOURCES):
        return Parsed({"page_cache": schema.empty("page_cache")})
    shared = any(system == "block" for system, _ in trace.formats)  # then the block collector speaks for the trace
    notes = [] if shared else [*trace.notes]
    rows = in_order(columns_of(trace))
    names = read_names(raw / "page_cache" / "paths.bin", notes)
    if trace.windows is not None:
        notes.append("page-cache events were captured in windows of time: their counts are those of the windows")
    return Parsed({"page_cache": to_table(rows, trace, facts, names)}, notes, 0 if shared else trace.lost)


def columns_of(trace: Trace) -> dict[str, npt.NDArray[Any]]:
    """All page-cache events: time_ns, event (index into `EVENTS`), dev, inode, index, pages (-1: none), pid."""
    parts = []
    for source in SOURCES:
        events = trace.get(source.system, source.name)
        if not len(events):
            continue
        count = len(events)
        on_file = {"s_dev", "i_ino", "index"} <= set(events.names)
        part = {
            "time_ns": events.time_ns,
            "event": np.full(count, EVENTS.index(source.event), np.int8),
            "pid": events.pid.astype(np.int64),
            "pages": _pages(events, source.pages),
            "nested": np.full(count, source.name == "page_cache_ra_unbounded"),
        }
        for column, field in (("dev", "s_dev"), ("inode", "i_ino"), ("index", "index")):
            part[column] = events.field(field).astype(np.int64) if on_file else np.full(count, -1, np.int64)
        parts.append(part)
    if not parts:
        return {name: np.empty(0, np.int64) for name in ("time_ns", "event", "pid", "pages", "dev", "inode", "index")}
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return remove_repeated(columns)


def _pages(events: EventColumns, how: str) -> Ints:
    if how == "order" and "order" in events.names:
        order: Ints = np.minimum(events.field("order").astype(np.int64), MAX_ORDER)
        return np.left_shift(np.ones_like(order), order)
    if how == "last" and "last_index" in events.names:
        return np.maximum(events.field("last_index").astype(np.int64) - events.field("index").astype(np.int64) + 1, 0)
    if how in events.names:
        return events.field(how).astype(np.int64)
    return np.full(len(events), -1 if how == "none" else 1, np.int64)


def remove_repeated(columns: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Count read-ahead once: on a file system without large folios page_cache_ra_order hands on to ra_unbounded.

    ``columns`` has a column ``nested``, True for events of page_cache_ra_unbounded; the result is without it.
    """
    rows = np.flatnonzero(columns["event"] == EVENTS.index("readahead"))
    rows = rows[np.lexsort((columns["time_ns"][rows], columns["pid"][rows]))]
    before, after = rows[:-1], rows[1:]
    same = columns["nested"][after] & ~columns["nested"][before]
    for name in ("pid", "dev", "inode", "index"):
        same &= columns[name][before] == columns[name][after]
    keep = np.ones(len(columns["event"]), np.bool_)
    keep[before[same]] = False  # the second one is cut at the file's end
    return {name: values[keep] for name, values in columns.items() if name != "nested"}


def in_order(columns: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The same events sorted by time."""
    order = np.argsort(columns["time_ns"], kind="stable")
    return {name: values[order] for name, values in columns.items()}


def to_table(
    columns: dict[str, npt.NDArray[Any]], trace: Trace, facts: RunFacts, names: dict[tuple[int, int], str]
) -> pa.Table:
    """The Arrow table of events; what is not known is null."""
    file, paths = _paths(columns["dev"], columns["inode"], names)
    tasks, task = np.unique(columns["pid"], return_inverse=True)
    owner = trace.tasks.owners(tasks, facts)[task]
    return schema.table(
        "page_cache",
        {
            "time_ns": columns["time_ns"],
            "event": _dictionary(columns["event"], list(EVENTS)),
            "dev": pa.array(columns["dev"].astype(np.int32), mask=columns["dev"] < 0),
            "inode": pa.array(columns["inode"], mask=columns["dev"] < 0),
            "index": pa.array(columns["index"], mask=columns["dev"] < 0),
            "pages": pa.array(columns["pages"], mask=columns["pages"] < 0),
            "pid": columns["pid"].astype(np.int32),
            "comm": _dictionary(task, [trace.comm(pid) for pid in tasks.tolist()]),
            "owner": _dictionary(owner, list(OWNERS)),
            "path": _dictionary(file, paths),
        },
    )


def _paths(dev: Ints, inode: Ints, names: dict[tuple[int, int], str]) -> tuple[Ints, list[str | None]]:
    """Codes and the path of each distinct file; None where no name was found."""
    if not len(dev):
        return np.empty(0, np.int64), []
    order = np.lexsort((inode, dev))
    new = np.ones(len(order), np.bool_)
    new[1:] = (dev[order][1:] != dev[order][:-1]) | (inode[order][1:] != inode[order][:-1])
    codes = np.empty(len(order), np.int64)
    codes[order] = np.cumsum(new) - 1
    files = zip(dev[order][new].tolist(), inode[order][new].tolist(), strict=True)
    return codes, [names.get(file) for file in files]


def _dictionary(codes: npt.NDArray[Any], values: list[str | None] | list[str]) -> pa.Array:
    """Text given as codes into values that may repeat or be missing."""
    known = sorted({value for value in values if value is not None})
    place = {value: index for index, value in enumerate(known)}
    mapped = np.array([-1 if value is None else place[value] for value in values] or [-1], np.int32)
    indices = mapped[codes] if len(codes) else np.empty(0, np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=indices < 0), pa.array(known, pa.string()))
