"""Runs made of nothing but block requests whose times a test chooses, for tests of training sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.collectors import schema
from edgeprof.collectors.tracefs.capture_windows import WINDOW
from tests import tiny_run
from tests.tiny_run import START_NS

BLOCK = {"name": "block", "available": True, "mode": "full", "lost": 0, "notes": [], "details": {"backend": "tracefs"}}


def ns(milliseconds: float | None) -> int | None:
    """Milliseconds since the run's start as CLOCK_MONOTONIC ns."""
    return None if milliseconds is None else START_NS + round(milliseconds * 1e6)


def request(issued: float | None, completed: float | None, op: str = "read", **others: Any) -> dict[str, Any]:
    """A row of block_io; times in ms since the run's start."""
    row: dict[str, Any] = {
        "queued_ns": ns(others.pop("queued", issued)),
        "inserted_ns": ns(others.pop("inserted", None)),
        "issued_ns": ns(issued),
        "completed_ns": ns(completed),
        "dev": 259 << 20,
        "device": "nvme0n1",
        "sector": 0,
        "bytes": 4096,
        "op": op,
        "flags": "R" if op == "read" else "W",
        "error": 0,
        "owner": "run",
    }
    return row | others


def block_io(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """The table of such rows."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    return schema.table("block_io", {name: [row.get(name) for row in rows] for name in names})


def write_run(
    folder: Path,
    requests: Sequence[dict[str, Any]] | pa.Table,
    windows: Sequence[tuple[float, float | None]] = (),
    block: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run's folder with these requests; ``windows`` (ms) are those of a budgeted capture."""
    table = requests if isinstance(requests, pa.Table) else block_io(requests)
    (folder / "tables").mkdir(parents=True)
    pq.write_table(table, folder / "tables" / "block_io.parquet", compression="zstd")
    entry = BLOCK | ({"mode": "sampled"} if windows else {}) | (block or {})
    host = {"hostname": "desk", "kernel": "6.1.0", "devices": {"259:0": {"name": "nvme0n1", "rotational": 0}}}
    content = tiny_run.manifest(**{"collectors": [entry], "host": host, **changes})
    (folder / "manifest.json").write_text(json.dumps(content))
    if windows:
        (folder / "raw" / "tracefs").mkdir(parents=True)
        records = [WINDOW.pack(ns(begin) or 0, ns(end) or 0) for begin, end in windows]
        (folder / "raw" / "tracefs" / "windows.bin").write_bytes(b"".join(records))
    return folder
