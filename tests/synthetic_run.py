"""Makes complete run folders out of thin air, for tests of what reads them: manifest, tables, metrics.

The run is a training with steps that first read cold files and later find them in the page
cache.  The figures are invented but agree with each other: phases tile the steps, counters
only grow, requests lie where the phases read, totals add up.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.collectors import schema
from edgeprof.collectors.schema import column

START_NS = 7_200_000_000_000
NS = 1_000_000_000
MAIN_PID, AGENT_PID, KERNEL_PID, OTHER_PID = 4200, 4100, 77, 900
DEVICE, DEVICE_NUMBER = "nvme0n1", 259 << 20
MIB = 1 << 20

COMMAND = ["python", "train.py", "--data", "/data/images", "--epochs", "3"]


@dataclass(frozen=True)
class Shape:
    """How large the run is; ``requests`` are block requests in all."""

    seconds: float = 60.0
    rate: float = 10.0
    processes: int = 3
    steps: int = 400
    requests: int = 20_000
    seed: int = 7

    @property
    def ticks(self) -> np.ndarray:
        """Moments of the samples, seconds since start."""
        return np.arange(0.0, self.seconds, 1.0 / self.rate)


class Maker:
    """The tables of one synthetic run."""

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.random = np.random.default_rng(shape.seed)
        self.cold_steps = max(1, shape.steps // 3)
        self.bounds = self._step_bounds()
        self.cold = float(self.bounds[self.cold_steps])  # files are in the page cache from here on

    def _step_bounds(self) -> np.ndarray:
        lengths = self.random.lognormal(0.0, 0.18, self.shape.steps)
        lengths[: self.cold_steps] *= 1.8
        edges = np.r_[0.0, np.cumsum(lengths)]
        return edges / edges[-1] * self.shape.seconds * 0.96 + self.shape.seconds * 0.02

    def ns(self, seconds: np.ndarray) -> np.ndarray:
        """Seconds since start as CLOCK_MONOTONIC ns."""
        return START_NS + np.round(np.asarray(seconds) * 1e9).astype(np.int64)

    def grown(self, per_second: np.ndarray) -> np.ndarray:
        """A cumulative counter that grows at a rate."""
        return np.cumsum(per_second / self.shape.rate)

    def reading(self) -> np.ndarray:
        """Bytes per second read from storage at each tick."""
        ticks = self.shape.ticks
        level = np.where(ticks < self.cold, 110e6, 3e6)
        return level * self.random.gamma(6.0, 1 / 6.0, len(ticks))

    def phases(self) -> pa.Table:
        """load, forward, backward and optimizer in each step, a checkpoint at the end."""
        start, end = self.bounds[:-1], self.bounds[1:]
        load = np.where(np.arange(len(start)) < self.cold_steps, 0.46, 0.06) * self.random.uniform(0.8, 1.2, len(start))
        cuts = [np.zeros_like(load), load, load + (1 - load) * 0.36, load + (1 - load) * 0.9, np.ones_like(load)]
        names = ("load", "forward", "backward", "optimizer")
        rows: list[tuple[np.ndarray, np.ndarray, str, int]] = [
            (start + (end - start) * cuts[i], start + (end - start) * cuts[i + 1], name, 1)
            for i, name in enumerate(names)
        ]
        rows.append((start[:1], end[-1:], "epoch", 0))
        rows.append((end[-1:], np.array([self.shape.seconds * 0.998]), "checkpoint", 0))
        total = [len(row[0]) for row in rows]
        return schema.table(
            "phases",
            {
                "start_ns": self.ns(np.concatenate([row[0] for row in rows])),
                "end_ns": self.ns(np.concatenate([row[1] for row in rows])),
                "name": np.repeat([row[2] for row in rows], total),
                "pid": np.full(sum(total), MAIN_PID),
                "tid": np.full(sum(total), MAIN_PID),
                "depth": np.repeat([row[3] for row in rows], total),
                "main": np.ones(sum(total), bool),
                "cut": np.zeros(sum(total), bool),
            },
        )

    def steps(self) -> pa.Table:
        """One row a step of 32 samples."""
        n = self.shape.steps
        return schema.table(
            "steps",
            {
                "step": np.arange(n),
                "start_ns": self.ns(self.bounds[:-1]),
                "end_ns": self.ns(self.bounds[1:]),
                "pid": np.full(n, MAIN_PID),
                "samples": np.full(n, 32.0),
            },
        )

    def system(self) -> pa.Table:
        """A machine with 4 CPUs and 8 GB; /proc/meminfo is read at every other sample."""
        ticks, cold = self.shape.ticks, self.shape.ticks < self.cold
        cached = np.minimum(np.cumsum(self.reading()) / self.shape.rate, 2.4e9) + 6e8
        used = 1.9e9 + 6e8 * (1 - np.exp(-ticks / 4))
        dirty = np.where(ticks > self.shape.seconds * 0.95, 9e7, 4e6)
        values = {
            "cpu_user": self.grown(np.where(cold, 1.6, 2.7)),
            "cpu_system": self.grown(np.where(cold, 0.4, 0.15)),
            "cpu_idle": self.grown(np.where(cold, 1.2, 1.0)),
            "cpu_iowait": self.grown(np.where(cold, 0.8, 0.05) * self.random.gamma(4, 0.25, len(ticks))),
            "psi_memory_some_total": self.grown(np.where(cold, 0.004, 0.001)),
            "psi_io_some_total": self.grown(np.where(cold, 0.42, 0.01) * self.random.uniform(0.7, 1.3, len(ticks))),
            "psi_io_full_total": self.grown(np.where(cold, 0.2, 0.004) * self.random.uniform(0.7, 1.3, len(ticks))),
            "psi_cpu_some_total": self.grown(np.where(cold, 0.05, 0.12)),
        }
        sizes = {"MemTotal": np.full(len(ticks), 8e9), "MemAvailable": 8e9 - used, "Cached": cached, "Dirty": dirty}
        sizes |= {"Writeback": dirty / 8, "SwapTotal": np.full(len(ticks), 4e9), "SwapFree": np.full(len(ticks), 4e9)}
        extra = [column(name, pa.float64(), "s") for name in values]
        extra += [column(f"meminfo_{name}", pa.int64(), "bytes") for name in sizes]
        skipped = np.arange(len(ticks)) % 2 == 1
        whole = {f"meminfo_{name}": pa.array(value.astype(np.int64), mask=skipped) for name, value in sizes.items()}
        return schema.table("system", {"time_ns": self.ns(ticks), **values, **whole}, extra)

    def process(self) -> pa.Table:
        """The main process and its DataLoader workers; PSS every second."""
        ticks, n = self.shape.ticks, self.shape.processes
        share = self.reading() / max(1, n)
        rss = 9e8 * (1 - np.exp(-ticks / 3)) + 1.2e8
        rollup = np.arange(len(ticks)) % max(1, int(self.shape.rate)) == 0

        def every(values: np.ndarray) -> np.ndarray:
            return np.repeat(values, n)

        def sparse(values: np.ndarray) -> pa.Array:
            return pa.array(every(values.astype(np.int64)), mask=every(~rollup))

        return schema.table(
            "process",
            {
                "time_ns": every(self.ns(ticks)),
                "pid": np.tile(MAIN_PID + np.arange(n), len(ticks)),
                "comm": np.tile(np.array(["python"] + ["pt_data_worker"] * (n - 1))[:n], len(ticks)),
                "utime": every(self.grown(np.full(len(ticks), 1.9 / n))),
                "stime": every(self.grown(np.full(len(ticks), 0.25 / n))),
                "majflt": every(self.grown(np.where(ticks < self.cold, 40, 0) / n).astype(np.int64)),
                "rss": every((rss / n).astype(np.int64)),
                "read_bytes": every(self.grown(share).astype(np.int64)),
                "write_bytes": every(
                    self.grown(np.where(ticks > self.shape.seconds * 0.95, 3e7, 0) / n).astype(np.int64)
                ),
                "pss": sparse(rss / n * 0.8),
                "pss_anon": sparse(rss / n * 0.7),
                "pss_file": sparse(rss / n * 0.1),
            },
        )

    def cgroup(self) -> pa.Table:
        """memory.stat, limit and CPU of the run's cgroup."""
        ticks = self.shape.ticks
        anon = 8.2e8 * (1 - np.exp(-ticks / 3)) + 1e8 + 2e7 * np.sin(ticks * 7)
        file = np.minimum(self.grown(self.reading()), 1.7e9)
        kernel = np.full(len(ticks), 4.2e7)
        total = anon + file + kernel
        stats = {"stat_anon": anon, "stat_file": file, "stat_kernel": kernel}
        return schema.table(
            "cgroup",
            {
                "time_ns": self.ns(ticks),
                "memory_current": total.astype(np.int64),
                "memory_peak": np.maximum.accumulate(total).astype(np.int64),
                "memory_limit": np.full(len(ticks), 3_000_000_000),
                "cpu_usage": self.grown(np.where(ticks < self.cold, 1.7, 2.6)),
                **{name: values.astype(np.int64) for name, values in stats.items()},
            },
            [column(name, pa.int64(), "bytes") for name in stats],
        )

    def cgroup_io(self) -> pa.Table:
        """Bytes of the run on one device."""
        ticks = self.shape.ticks
        read = self.grown(self.reading()).astype(np.int64)
        write = self.grown(np.where(ticks > self.shape.seconds * 0.95, 3e7, 0)).astype(np.int64)
        names = np.full(len(ticks), "259:0")
        columns = {
            "device": names,
            "read_bytes": read,
            "write_bytes": write,
            "read_ios": read // 65536,
            "write_ios": write // 65536,
        }
        return schema.table("cgroup_io", {"time_ns": self.ns(ticks), **columns})

    def disk(self) -> pa.Table:
        """The device, one of its partitions, and a second device that is hardly used."""
        ticks = self.shape.ticks
        rates = {
            DEVICE: (self.reading() * 1.04, 2e6 + np.where(ticks > self.shape.seconds * 0.95, 3e7, 0)),
            f"{DEVICE}p2": (self.reading() * 1.04, np.full(len(ticks), 2e6)),
            "mmcblk0": (np.full(len(ticks), 4e4), np.full(len(ticks), 2.5e5)),
        }
        read = np.concatenate([self.grown(item[0]) for item in rates.values()]).astype(np.int64)
        write = np.concatenate([self.grown(item[1]) for item in rates.values()]).astype(np.int64)
        columns = {"device": np.repeat(list(rates), len(ticks)), "read_bytes": read, "write_bytes": write}
        return schema.table(
            "disk", {"time_ns": np.tile(self.ns(ticks), 3), **columns, "reads": read // 65536, "writes": write // 65536}
        )

    def block_io(self) -> pa.Table:
        """Reads of files in the cold part, writeback and journal later, a few of edgeprof and of others."""
        n, random = self.shape.requests, self.random
        queued = np.sort(
            np.r_[random.uniform(0, self.cold, n * 4 // 5), random.uniform(0, self.shape.seconds, n - n * 4 // 5)]
        )
        draw = random.random(n)
        owner = np.where(
            draw < 0.86, 0, np.where(draw < 0.96, 1, np.where(draw < 0.97, 2, 3))
        )  # run, kernel, profiler, other
        write = np.where(owner == 0, random.random(n) < 0.04, owner < 3)
        size = np.where(write, 4096 * 2 ** random.integers(0, 6, n), 4096 * 2 ** random.integers(0, 8, n))
        epoch = queued / self.cold
        offset = np.where(random.random(n) < 0.6, epoch % 1 * 3.2e9, random.uniform(0, 6e9, n)) + 4e9
        offset = np.where(owner == 3, random.normal(1.05e10, 1e8, n), offset)
        offset = np.where(write, 1.1e10 + random.exponential(4e8, n), offset)
        waited = random.lognormal(np.log(3e-5), 0.9, n) * np.where(random.random(n) < 0.03, 40, 1)
        served = random.lognormal(np.log(np.where(write, 4e-4, 1.5e-4)), 0.5, n)
        return schema.table(
            "block_io",
            {
                "queued_ns": self.ns(queued),
                "issued_ns": self.ns(queued + waited),
                "completed_ns": pa.array(
                    self.ns(queued + waited + served), mask=queued + waited + served > self.shape.seconds
                ),
                "dev": np.full(n, DEVICE_NUMBER, np.int32),
                "device": np.full(n, DEVICE),
                "sector": (offset // 4096 * 8).astype(np.int64),
                "bytes": size.astype(np.int64),
                "op": pick(write.astype(int), ["read", "write"]),
                "flags": pick(write.astype(int), ["RA", "W"]),
                "pid": np.array([MAIN_PID, KERNEL_PID, AGENT_PID, OTHER_PID], np.int32)[owner],
                "comm": pick(owner, ["pt_data_worker", "kworker/u8:2", "edgeprof", "apt-daily"]),
                "error": np.zeros(n, np.int32),
                "owner": pick(owner, ["run", "kernel", "profiler", "other"]),
            },
        )

    def power(self) -> pa.Table:
        """Two rails and their sum."""
        ticks = self.shape.ticks
        cpu = np.where(ticks < self.cold, 3.1, 4.4) + self.random.normal(0, 0.15, len(ticks))
        rails = {"VDD_IN": cpu + 2.3, "VDD_CPU": cpu, "VDD_SOC": np.full(len(ticks), 1.4)}
        return schema.table(
            "power",
            {
                "time_ns": np.tile(self.ns(ticks), 3),
                "rail": np.repeat(list(rails), len(ticks)),
                "source": np.full(3 * len(ticks), "ina3221"),
                "power": np.concatenate(list(rails.values())),
                "total": np.repeat([True, False, False], len(ticks)),
            },
        )

    def thermal(self) -> pa.Table:
        """One zone that warms up."""
        ticks = self.shape.ticks
        columns = {"zone": np.full(len(ticks), "cpu-thermal"), "temperature": 61 - 19 * np.exp(-ticks / 25)}
        return schema.table("thermal", {"time_ns": self.ns(ticks), **columns})

    def self_(self) -> pa.Table:
        """What the profiler used."""
        ticks = self.shape.ticks
        return schema.table(
            "self",
            {
                "time_ns": self.ns(ticks),
                "utime": self.grown(np.full(len(ticks), 0.002)),
                "stime": self.grown(np.full(len(ticks), 0.0015)),
                "rss": np.full(len(ticks), 19 * MIB),
            },
        )


TABLES = ("phases", "steps", "system", "process", "cgroup", "cgroup_io", "disk", "block_io", "power", "thermal", "self")


def pick(codes: np.ndarray, names: list[str]) -> pa.DictionaryArray:
    """A text column from codes."""
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names))


def write_run(
    folder: Path,
    shape: Shape = Shape(),
    only: Iterable[str] = TABLES,
    manifest: dict[str, Any] | None = None,
    metrics: bool = True,
) -> Path:
    """Write a run into ``folder`` (made if needed) and return it.

    Args:
        only: the tables to write.
        manifest: entries that replace those of `manifest_of`, key by key; nested ones are merged.
        metrics: whether metrics.parquet and the verdict are written.
    """
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    maker, rows = Maker(shape), {}
    for name in only:
        table = getattr(maker, "self_" if name == "self" else name)()
        pq.write_table(table, folder / "tables" / f"{name}.parquet", compression="zstd")
        rows[name] = table.num_rows
    content = manifest_of(shape, rows)
    if metrics:
        pq.write_table(metrics_of(shape), folder / "metrics.parquet")
        content["verdict"] = dict(VERDICT)
    merge(content, manifest or {})
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def merge(content: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put changes into nested dictionaries."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(content.get(key), dict):
            merge(content[key], value)
        else:
            content[key] = value


VERDICT = {
    "bound_by": "input",
    "confidence": "high",
    "evidence": [
        "The steps spent 31 % of their time waiting for input.",
        "In that time the device delivered 110 MB/s in requests of 64 KiB and its queue was never empty.",
        "From the second epoch on, when the files were in the page cache, waiting fell to 6 %.",
    ],
    "advice": [
        "Store the data set in fewer, larger files that are read in order.",
        "Raise read_ahead_kb of nvme0n1 from 128 to 1024.",
    ],
}


def metrics_of(shape: Shape) -> pa.Table:
    """Metrics as analysis writes them, one of them without a value."""
    rows: list[tuple[str, float | None, str, str | None]] = [
        ("wall_time", shape.seconds, "s", None),
        ("throughput", shape.steps * 32 / shape.seconds, "samples/s", None),
        ("step_time_p50", shape.seconds / shape.steps * 0.9, "s", None),
        ("step_time_p99", shape.seconds / shape.steps * 2.1, "s", None),
        ("data_stall", 0.31, "share", None),
        ("storage_read_bytes", 2.31e9, "bytes", None),
        ("block_read_latency_p99", 1.9e-3, "s", None),
        ("page_cache_hit_ratio", None, "share", "the collector page_cache was off; add --collect deep"),
        ("cgroup_memory_peak", 2.66e9, "bytes", None),
        ("major_faults", 812.0, "count", None),
        ("psi_io_some", 9.2, "s", None),
        ("cpu_time", 131.0, "s", None),
        ("energy", 371.0, "J", None),
        ("energy_per_sample", 0.029, "J/sample", None),
    ]
    names, values, units, reasons = zip(*rows, strict=True)
    columns = {
        "name": names,
        "value": pa.array(values, pa.float64()),
        "unit": units,
        "reason": pa.array(reasons, pa.string()),
    }
    columns |= {"phase": pa.nulls(len(rows), pa.string()), "how": ["invented for tests"] * len(rows)}
    return pa.table(columns)


def manifest_of(shape: Shape, rows: dict[str, int]) -> dict[str, Any]:
    """A manifest of schema 1 for a finished run."""
    end = START_NS + round(shape.seconds * NS)
    ran = ("procfs", "cgroup", "block", "phases", "power", "thermal", "self")
    collectors: list[dict[str, Any]] = [
        {
            "name": name,
            "available": True,
            "reason": "",
            "remedy": "",
            "mode": "full",
            "records": sum(rows.values()) // 3,
            "bytes": 120_000 + 40 * sum(rows.values()),
            "lost": 0,
            "cpu_seconds": 0.02,
            "notes": [],
            "details": {},
        }
        for name in ran
    ]
    collectors += [
        {
            "name": "perf_stat",
            "available": False,
            "reason": "the perf tool is not installed",
            "remedy": "apt-get install linux-perf",
        },
        {
            "name": "gpu",
            "available": False,
            "reason": "no NVIDIA driver was found",
            "remedy": "",
        },
    ]
    return {
        "schema": 1,
        "edgeprof": "0.1.0",
        "run": {
            "id": "3f9c2a",
            "name": "cnn-images",
            "command": COMMAND,
            "cwd": "/home/user/train",
            "started": "2026-11-21T12:00:00Z",
            "ended": "2026-11-21T12:01:00Z",
            "status": "finished",
            "exit_code": 0,
            "signal": None,
            "wall_time": shape.seconds,
            "start_ns": START_NS,
            "end_ns": end,
            "pid": MAIN_PID,
            "user": "user",
        },
        "spec": {
            "rate": shape.rate,
            "budget_cpu": 0.01,
            "budget_bytes": 4e6,
            "deep": False,
            "auto": True,
            "collect": [],
        },
        "factors": {
            "model": "resnet18",
            "lifecycle": "train",
            "framework": {"name": "pytorch", "version": "2.13.0"},
            "isolation": "bare",
            "storage": {
                "format": "jpeg",
                "file_system": "ext4",
                "device": DEVICE,
                "scheduler": "none",
                "read_ahead_kb": 128,
            },
            "unit": {"kind": "cpu", "threads": 4, "precision": "float32", "power_mode": None},
            "board": "Jetson Orin Nano",
        },
        "host": {
            "kernel": "5.15.148-tegra",
            "machine": "aarch64",
            "cpus": 4,
            "memory_bytes": 8_000_000_000,
            "hostname": "orin-7",
        },
        "clocks": [
            {
                "at": "start",
                "monotonic_ns": START_NS,
                "boottime_ns": START_NS,
                "realtime_ns": START_NS + NS,
                "error_ns": 80,
            }
        ],
        "collectors": collectors,
        "overhead": {
            "cpu_seconds": 0.21,
            "setup_cpu_seconds": 0.09,
            "cpu_share": 0.0035,
            "helper_cpu_seconds": 0.0,
            "bytes_written": 2_400_000,
            "wall_added_seconds": 0.011,
            "peak_rss_bytes": 19 * MIB,
            "lost_records": 0,
            "budget": {"cpu_share": 0.01, "bytes_per_second": 4e6, "kept": True},
        },
        "cgroup": {"mode": "v2", "paths": {"unified": "/sys/fs/cgroup/edgeprof-3f9c2a"}, "reason": ""},
        "processes": {"agent": AGENT_PID, "helpers": [], "left_running": []},
        "notes": [],
        "ingest": {"tables": rows, "notes": [], "seconds": 0.4},
    }


def main() -> None:
    """``python -m tests.synthetic_run FOLDER [SECONDS [REQUESTS [PROCESSES [STEPS]]]]``: write one to look at."""
    import sys

    folder, *numbers = sys.argv[1:]
    shape = Shape()
    if numbers:
        keys = ("seconds", "requests", "processes", "steps")
        shape = Shape(
            **{key: float(text) if key == "seconds" else int(text) for key, text in zip(keys, numbers, strict=False)}
        )
    write_run(Path(folder), shape)


if __name__ == "__main__":
    main()
