"""Turns the frames of /proc into the tables system, cpu, disk and process.

Formats: proc_stat(5), proc_meminfo(5), proc_vmstat(5), proc_pid_stat(5), proc_pid_io(5), proc_pid_statm(5),
Documentation/admin-guide/iostats.rst (diskstats), Documentation/accounting/psi.rst (pressure),
Documentation/scheduler/sched-stats.rst (schedstat).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.frames import FrameFile, Series, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.procfs.readings import PAGE_BYTES, USER_HZ, inner_pid, pressure_values, read_process, role_of
from edgeprof.collectors.text import MOST, KeyedColumns, keyed, rows_of, to_int

SECTOR_BYTES = 512

CPU_COLUMNS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
_KIB = {"kB": 1024}


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Tables system, cpu, disk and process from ``raw/procfs/samples.frames``."""
    try:
        frames = read_frames(raw / "procfs" / "samples.frames")
    except FileNotFoundError:
        return Parsed({})
    page_bytes = int(facts.host.get("page_bytes") or PAGE_BYTES)
    notes = [f"procfs: {frames.damage}"] if frames.damage else []
    tables = {
        "system": system_table(frames, notes),
        "cpu": cpu_table(frames),
        "disk": disk_table(frames.get("system/diskstats")),
        "process": process_table(frames, page_bytes, (facts.main_pid, facts.start_ns)),
    }
    return Parsed(tables, notes)


def system_table(frames: FrameFile, notes: list[str] | None = None) -> pa.Table:
    """One row a sample: CPU times (s), meminfo (bytes), vmstat (as the kernel counts), pressure totals (s), load.

    What had to be left out is added to ``notes``.
    """
    columns = KeyedColumns()
    for time_ns, payload in _samples(frames, "system/stat"):
        columns.add(time_ns, _stat_values(payload))
    for time_ns, payload in _samples(frames, "system/meminfo"):
        columns.add(time_ns, keyed(payload, "meminfo_", _KIB))
    for time_ns, payload in _samples(frames, "system/vmstat"):
        columns.add(time_ns, keyed(payload, "vmstat_"))
    for resource in ("cpu", "memory", "io"):
        for time_ns, payload in _samples(frames, f"system/pressure/{resource}"):
            columns.add(time_ns, pressure_values(payload, resource))
    for time_ns, payload in _samples(frames, "system/loadavg"):
        columns.add(time_ns, _load_values(payload))
    table = columns.table("system", _unit)
    if columns.dropped and notes is not None:
        notes.append(f"procfs: the {columns.dropped} rarest columns of the table system were left out: it is too large")
    return table


def _unit(name: str) -> str:
    if name.startswith(("cpu_", "psi_")):
        return "s"
    return "bytes" if name.startswith("meminfo_") and "HugePages_" not in name else "count"


def _samples(frames: FrameFile, name: str) -> zip[tuple[int, bytes]]:
    series = frames.get(name)
    return zip(series.times, series.payloads, strict=True)


def _stat_values(payload: bytes) -> dict[str, float]:
    values: dict[str, float] = {}
    for line in payload.split(b"\n"):
        fields = line.split(None, 12)
        if len(fields) < 2:
            continue
        if fields[0] == b"cpu":
            for name, text in zip(CPU_COLUMNS, fields[1:], strict=False):
                number = to_int(text)
                if number is not None:
                    values["cpu_" + name] = number / USER_HZ
        elif fields[0] in (b"ctxt", b"processes", b"procs_running", b"procs_blocked"):
            number = to_int(fields[1])
            if number is not None:
                values[fields[0].decode()] = number
    return values


def _load_values(payload: bytes) -> dict[str, float]:
    values: dict[str, float] = {}
    for minutes, text in zip((1, 5, 15), payload.split()[:3], strict=False):
        try:
            number = float(text)
        except ValueError:
            continue
        if math.isfinite(number):
            values[f"loadavg_{minutes}"] = number
    return values


def cpu_table(frames: FrameFile) -> pa.Table:
    """One row a sample and processor: its CPU times, s since boot."""
    times: list[int] = []
    numbers: list[int] = []
    rows: list[list[float]] = []
    for time_ns, payload in _samples(frames, "system/stat"):
        for line in payload.split(b"\n"):
            fields = line.split(None, 11)
            processor = to_int(fields[0][3:]) if len(fields) == 11 and fields[0].startswith(b"cpu") else None
            if processor is None or processor < 0:
                continue
            ticks = [to_int(text) for text in fields[1:]]
            if None not in ticks and processor < 1 << 20:
                times.append(time_ns)
                numbers.append(processor)
                rows.append([tick / USER_HZ for tick in ticks if tick is not None])
    matrix = np.array(rows, dtype=np.float64).reshape(len(rows), len(CPU_COLUMNS))
    columns = {name: matrix[:, index] for index, name in enumerate(CPU_COLUMNS)}
    return schema.table("cpu", {"time_ns": times, "cpu": numbers, **columns})


_DISK_FIELDS = (
    ("reads", 3, 1.0),
    ("reads_merged", 4, 1.0),
    ("read_bytes", 5, float(SECTOR_BYTES)),
    ("read_time", 6, 1e-3),
    ("writes", 7, 1.0),
    ("writes_merged", 8, 1.0),
    ("write_bytes", 9, float(SECTOR_BYTES)),
    ("write_time", 10, 1e-3),
    ("in_flight", 11, 1.0),
    ("io_time", 12, 1e-3),
    ("weighted_io_time", 13, 1e-3),
)
"""Column, position in a diskstats line, factor to SI."""


def disk_table(series: Series) -> pa.Table:
    """One row a sample and device that has ever done I/O."""
    times: list[int] = []
    devices: list[str] = []
    numbers: list[list[int]] = []
    for time_ns, payload in zip(series.times, series.payloads, strict=True):
        for fields in rows_of(payload, 14):
            counts = [to_int(text) for text in fields[3:14]]
            if None in counts or not any(counts):
                continue
            times.append(time_ns)
            devices.append(fields[2].decode("utf-8", "replace"))
            numbers.append([count for count in counts if count is not None])
    matrix = np.array(numbers, dtype=np.int64).reshape(len(numbers), 11)
    limit = MOST // SECTOR_BYTES  # a damaged counter must not wrap around
    columns = {
        name: np.clip(matrix[:, position - 3], -limit, limit) * (factor if factor < 1 else int(factor))
        for name, position, factor in _DISK_FIELDS
    }
    return schema.table("disk", {"time_ns": times, "device": devices, **columns})


_OF_IMAGE = ("comm", "vsize", "rss", "shared", "pss", "pss_anon", "pss_file", "swap")


def process_table(frames: FrameFile, page_bytes: int, held: tuple[int, int] = (0, 0)) -> pa.Table:
    """One row a sample and process of the run, in time order; what a file did not tell is null.

    ``held`` is the run's first process and its exec's time: what it was before is edgeprof's own image, so its memory
    is left out there; its counters start from those rows.
    """
    rows: dict[tuple[int, int], dict[str, object]] = {}
    roles: dict[int, str] = {}
    inner: dict[int, int] = {}
    for series in frames.matching("process/"):
        pid_text, _, file = series.name[len("process/") :].partition("/")
        pid = to_int(pid_text.encode())
        if pid is None or not 0 < pid < 1 << 31:
            continue
        if file == "cgroup":
            roles.update((pid, role) for payload in series.payloads if (role := role_of(payload)))
            continue
        if file == "status":
            inner.update((pid, found) for payload in series.payloads if (found := inner_pid(payload)))
            continue
        for time_ns, payload in zip(series.times, series.payloads, strict=True):
            if values := read_process(file, payload, page_bytes):
                if pid == held[0] and time_ns < held[1]:
                    values = {name: value for name, value in values.items() if name not in _OF_IMAGE}
                rows.setdefault((time_ns, pid), {}).update(values)
    keys = sorted(rows)
    columns: dict[str, Sequence[object]] = {"time_ns": [key[0] for key in keys], "pid": [key[1] for key in keys]}
    columns["role"] = [roles.get(key[1]) for key in keys]
    columns["inner_pid"] = [inner.get(key[1]) for key in keys]
    for item in schema.SCHEMAS["process"]:
        if item.name not in columns:
            columns[item.name] = pa.array([rows[key].get(item.name) for key in keys], item.type)
    return schema.table("process", columns)
