"""A run of ten seconds, small enough to compute every metric of it by hand.

Time 0 is the exec.  Four steps of 8 samples lie at [1, 2], [2, 4], [4, 6], [6, 9] s; each begins
with half a second of the phase load and goes on with forward.  The main process is seen at 0, 5
and 10 s, a worker at 5 s only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.collectors import schema
from edgeprof.collectors.schema import column
from edgeprof.profiler.analysis.data import RunData

START_NS = 5_000_000_000_000
MAIN, WORKER = 100, 101
MB = 1_000_000


def at(*seconds: float | None) -> list[int | None]:
    """Seconds since the exec as CLOCK_MONOTONIC ns; None stays."""
    return [None if second is None else START_NS + round(second * 1e9) for second in seconds]


def phases() -> pa.Table:
    """The main process's phases, and one of a worker that must not count."""
    starts = [1, 2, 4, 6]
    ends = [2, 4, 6, 9]
    rows = [(start, start + 0.5, "load", MAIN) for start in starts]
    rows += [(start + 0.5, end, "forward", MAIN) for start, end in zip(starts, ends, strict=True)]
    rows += [(0.0, 10.0, "load", WORKER)]
    return schema.table(
        "phases",
        {
            "start_ns": at(*(row[0] for row in rows)),
            "end_ns": at(*(row[1] for row in rows)),
            "name": [row[2] for row in rows],
            "pid": [row[3] for row in rows],
            "tid": [row[3] for row in rows],
            "depth": [0] * len(rows),
            "main": [row[3] == MAIN for row in rows],
            "cut": [False] * len(rows),
        },
    )


def steps() -> pa.Table:
    """Four steps of 8 samples: 1, 2, 2 and 3 s."""
    return schema.table(
        "steps",
        {
            "step": [0, 1, 2, 3],
            "start_ns": at(1, 2, 4, 6),
            "end_ns": at(2, 4, 6, 9),
            "pid": [MAIN] * 4,
            "samples": [8.0] * 4,
        },
    )


def process() -> pa.Table:
    """Three samples of the main process, one of the worker; PSS is read at 5 s only."""
    return schema.table(
        "process",
        {
            "time_ns": at(0, 5, 5, 10),
            "pid": [MAIN, MAIN, WORKER, MAIN],
            "comm": ["python"] * 4,
            "state": ["S", "R", "D", "S"],
            "start_time": [7.0, 7.0, 9.0, 7.0],
            "utime": [0.5, 2.0, 1.0, 4.0],
            "stime": [0.1, 0.4, 0.25, 0.6],
            "minflt": [10, 60, 20, 110],
            "majflt": [1, 3, 2, 5],
            "rss": [100 * MB, 300 * MB, 150 * MB, 200 * MB],
            "rchar": [1000, 5000, 3000, 9000],
            "read_bytes": [0, 4096, 2048, 6144],
            "write_bytes": [0, 0, 0, 8192],
            "cancelled_write_bytes": [0, 0, 0, 4096],
            "pss": [None, 250 * MB, 50 * MB, None],
        },
    )


def system() -> pa.Table:
    """A machine whose tasks wait for I/O a quarter of the time."""
    values = {
        "cpu_iowait": [3.0, 4.0, 5.5],
        "psi_memory_some_total": [1.0, 1.1, 1.2],
        "psi_io_some_total": [2.0, 3.0, 4.5],
    }
    extra = [column(name, pa.float64(), "s") for name in values]
    return schema.table("system", {"time_ns": at(0, 5, 10), **values}, extra)


def cgroup() -> pa.Table:
    """The run's cgroup: 6 s of CPU time, 200 faults of which 10 are major, a peak of 900 MB."""
    extra = [column(name, pa.int64(), "count") for name in ("stat_pgfault", "stat_pgmajfault")]
    return schema.table(
        "cgroup",
        {
            "time_ns": at(0, 5, 10),
            "memory_current": [100 * MB, 800 * MB, 600 * MB],
            "memory_peak": [100 * MB, 900 * MB, 900 * MB],
            "cpu_usage": [0.5, 3.0, 6.5],
            "stat_pgfault": [10, 100, 210],
            "stat_pgmajfault": [0, 8, 10],
        },
        extra,
    )


def cgroup_io() -> pa.Table:
    """8192 bytes read and 4096 written on one disk."""
    return schema.table(
        "cgroup_io",
        {
            "time_ns": at(5, 10),
            "device": ["259:0", "259:0"],
            "read_bytes": [4096, 8192],
            "write_bytes": [0, 4096],
            "read_ios": [1, 2],
            "write_ios": [0, 1],
        },
    )


REQUESTS = (
    # queued, issued, completed (s); device, sector, bytes, operation, owner, error, phase
    (1.0, 1.1, 1.3, 1, 0, 4096, "read", "run", 0, "load"),
    (2.0, 2.2, 2.6, 1, 8, 8192, "read", "run", 0, "load"),  # follows on the one before
    (3.0, 3.0, 3.2, 1, 100, 4096, "read", "run", 0, "forward"),
    (3.5, 3.6, 3.9, 1, 24, 4096, "write", "run", 0, "forward"),  # follows on a read, but is a write
    (3.6, 3.7, 4.9, 1, 108, 4096, "read", "kernel", 0, "forward"),
    (3.7, 3.8, 3.9, 1, 116, 4096, "read", "other", 0, "forward"),
    (4.0, 4.1, 4.2, 2, 108, 4096, "read", "run", 0, "load"),  # follows on, but on another device
    (5.0, 5.1, 5.2, 1, 500, 4096, "read", "run", 5, None),  # failed
    (9.0, 9.1, None, 1, 700, 4096, "read", "run", None, None),  # still in flight at the end
    (9.5, None, 9.6, 1, None, 0, "flush", "run", 0, None),
)


def block_io() -> pa.Table:
    """Ten requests, eight of them the run's own."""
    columns = list(zip(*REQUESTS, strict=True))
    return schema.table(
        "block_io",
        {
            "queued_ns": at(*columns[0]),
            "issued_ns": at(*columns[1]),
            "completed_ns": at(*columns[2]),
            "dev": columns[3],
            "device": [f"disk{number}" for number in columns[3]],
            "sector": pa.array(columns[4], pa.int64()),
            "bytes": columns[5],
            "op": columns[6],
            "owner": columns[7],
            "error": pa.array(columns[8], pa.int32()),
            "phase": columns[9],
        },
    )


def power() -> pa.Table:
    """A board's input at 5 W, which contains its CPU's 2 W."""
    return schema.table(
        "power",
        {
            "time_ns": at(0, 0, 5, 5, 10, 10),
            "rail": ["VDD_IN", "VDD_CPU"] * 3,
            "source": ["ina3221"] * 6,
            "power": [5.0, 2.0] * 3,
            "total": [True, False] * 3,
        },
    )


def thermal() -> pa.Table:
    """A processor slowed from 2 to 4 s, and a fan that always turns."""
    return schema.table(
        "thermal",
        {
            "time_ns": at(0, 2, 4, 10, 0, 10),
            "zone": ["cooling_device0 cpufreq-cpu0"] * 4 + ["cooling_device1 pwm-fan"] * 2,
            "throttling": [0, 3, 0, 0, 2, 2],
        },
    )


def counters() -> pa.Table:
    """Two intervals of perf: 30 context switches, and cycles that the machine cannot count."""
    return schema.table(
        "counters",
        {
            "time_ns": at(5, 5, 10, 10),
            "interval": [5.0] * 4,
            "event": ["context-switches", "cycles"] * 2,
            "value": [10.0, None, 20.0, None],
            "running": [1.0, None, 1.0, None],
            "reason": [None, "<not supported>", None, "<not supported>"],
        },
    )


TABLES = {
    "phases": phases,
    "steps": steps,
    "process": process,
    "system": system,
    "cgroup": cgroup,
    "cgroup_io": cgroup_io,
    "block_io": block_io,
    "power": power,
    "thermal": thermal,
    "counters": counters,
}

COLLECTORS = ("procfs", "cgroup", "perf_stat", "block", "phases", "power", "thermal")

MANIFEST: dict[str, Any] = {
    "schema": 1,
    "edgeprof": "0.1.0",
    "run": {
        "id": "20261121T120000Z-tiny-abc123",
        "name": "tiny",
        "command": ["python", "train.py"],
        "started": "2026-11-21T12:00:00Z",
        "ended": "2026-11-21T12:00:10Z",
        "status": "finished",
        "exit_code": 0,
        "signal": None,
        "wall_time": 10.0,
        "start_ns": START_NS,
        "end_ns": START_NS + 10_000_000_000,
        "pid": MAIN,
        "rusage": None,
    },
    "spec": {},
    "factors": {"model": "cnn", "storage": {"device": "disk1", "scheduler": "none"}},
    "host": {"cpus": 2, "page_bytes": 4096, "kernel": "6.1", "devices": {"259:0": {"name": "nvme0n1"}}},
    "collectors": [
        {"name": name, "available": True, "reason": "", "mode": "full", "lost": 0, "notes": []} for name in COLLECTORS
    ]
    + [
        {
            "name": "gpu",
            "available": False,
            "reason": "no NVIDIA driver was found",
            "remedy": "install it",
            "lost": None,
        }
    ],
    "overhead": {"cpu_seconds": 0.08, "helper_cpu_seconds": 0.02, "cpu_share": 0.005, "bytes_written": 4000},
    "cgroup": {"mode": "v2"},
    "notes": [],
}


def manifest(**changes: Any) -> dict[str, Any]:
    """The manifest; a change names a part and what to put into it (dictionaries are updated)."""
    content = copy.deepcopy(MANIFEST)
    for part, change in changes.items():
        if isinstance(change, Mapping) and isinstance(content.get(part), dict):
            content[part].update(change)
        else:
            content[part] = change
    return content


def data(without: tuple[str, ...] = (), tables: Mapping[str, pa.Table] | None = None, **changes: Any) -> RunData:
    """The run in memory, less some tables, with others in their place, with a changed manifest."""
    made = {name: make() for name, make in TABLES.items() if name not in without}
    made.update(tables or {})
    return RunData(manifest(**changes), made.get)


def write(folder: Path, without: tuple[str, ...] = (), metrics: bool = True, **changes: Any) -> Path:
    """The run on disk, as ``folder``; with metrics and verdict unless told otherwise."""
    from edgeprof.profiler import analysis
    from edgeprof.profiler.run import open_run

    (folder / "tables").mkdir(parents=True)
    content = manifest(**changes)
    (folder / "manifest.json").write_text(json.dumps(content))
    for name, make in TABLES.items():
        if name not in without:
            pq.write_table(make(), folder / "tables" / f"{name}.parquet")
    if metrics:
        run = open_run(folder)
        content["verdict"] = analysis.verdict(run, analysis.write_metrics(run))
        (folder / "manifest.json").write_text(json.dumps(content))
    return folder
