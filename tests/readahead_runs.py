"""Runs whose page-cache additions and throughput follow from a model of reading, for tests of read-ahead."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.collectors import schema
from tests import tiny_run
from tests.tiny_run import START_NS

DEV = 259 << 20
PAGE_KIB = 4
REQUEST_NS, PAGE_NS = 100_000, 10_000
FILE_PAGES = 1 << 20
SECONDS = 1.0
SIZES = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Reader:
    """Reads samples of so many pages, one behind the other or at random, and thinks so long after each."""

    name: str
    pages: int
    sequential: bool = False


READERS = (
    Reader("stream", 32, sequential=True),
    Reader("log", 8, sequential=True),
    Reader("rows", 1),
    Reader("wide-rows", 2),
    Reader("records", 16),
    Reader("images", 64),
)


def reads(reader: Reader, kib: int, seed: int = 0) -> Iterator[tuple[int, int, int]]:
    """(ns, first page, pages) of each addition, without end: each miss reads so much ahead."""
    draw, ahead, now, place = random.Random(f"{seed}{reader.name}{kib}"), kib // PAGE_KIB, 0, 0
    while True:
        begin = place if reader.sequential else draw.randrange(FILE_PAGES)
        end = begin + reader.pages
        at = begin
        while at < end:
            now += REQUEST_NS + ahead * PAGE_NS
            yield now, at, ahead
            at += ahead
        place = at


def throughput(reader: Reader, kib: int, noise: float = 1.0) -> float:
    """Samples a second by the same model."""
    ahead = kib // PAGE_KIB
    requests = reader.pages / ahead if reader.sequential else -(-reader.pages // ahead)
    return noise * 1e9 / (requests * (REQUEST_NS + ahead * PAGE_NS))


def additions(reader: Reader, kib: int, seed: int = 0, seconds: float = SECONDS) -> list[dict[str, Any]]:
    """Rows of page_cache for some seconds."""
    rows = []
    for now, index, pages in reads(reader, kib, seed):
        if now >= seconds * 1e9:
            return rows
        rows.append({"time_ns": START_NS + now, "inode": 7, "index": index, "pages": pages})
    return rows


def page_cache(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """The table of such rows."""
    common = {"event": "add", "dev": DEV, "owner": "run"}
    full = [common | row for row in rows]
    names = list(dict.fromkeys(name for row in full for name in row))
    return schema.table("page_cache", {name: [row.get(name) for row in full] for name in names})


def write_run(
    folder: Path,
    reader: Reader,
    kib: int,
    noise: float = 1.0,
    table: pa.Table | None = None,
    collector: dict[str, Any] | None = None,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A run's folder; ``table`` instead of the reader's own additions."""
    (folder / "tables").mkdir(parents=True)
    found = page_cache(additions(reader, kib, seed)) if table is None else table
    pq.write_table(found, folder / "tables" / "page_cache.parquet")
    metric = {"name": "throughput", "value": throughput(reader, kib, noise), "unit": "samples/s"}
    pq.write_table(
        pa.Table.from_pylist([metric | dict.fromkeys(("phase", "reason", "how"))]), folder / "metrics.parquet"
    )
    entry = {"name": "page_cache", "available": True, "mode": "full", "lost": 0, "notes": []} | (collector or {})
    host = {"hostname": "desk", "kernel": "6.1.0", "page_bytes": 4096, "devices": {"259:0": {"name": "nvme0n1"}}}
    manifest = tiny_run.manifest(
        **{
            "collectors": [entry],
            "host": host,
            "factors": {"model": reader.name, "storage": {"read_ahead": kib << 10, "file_system": "ext4"}},
            "setup": {"storage": {"disk": {"name": "nvme0n1"}}},
            **changes,
        }
    )
    manifest["run"] |= {"start_ns": START_NS, "end_ns": START_NS + round(SECONDS * 1e9)} | changes.get("run", {})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write_study(folder: Path, readers: Sequence[Reader] = READERS, repeats: int = 2) -> Path:
    """Runs of all readers at all sizes; repeats differ by 1 %."""
    for reader in readers:
        for kib in SIZES:
            for repeat in range(repeats):
                name = f"20261121T120000Z-{reader.name}-{kib}-{repeat}"
                write_run(folder / name, reader, kib, 1 + repeat / 100, seed=repeat)
    return folder
