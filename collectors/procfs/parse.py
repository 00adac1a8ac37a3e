"""Turns the frames of /proc into the tables system, cpu, disk and process.

Formats: proc_stat(5), proc_meminfo(5), proc_vmstat(5), proc_pid_stat(5), proc_pid_io(5), proc_pid_statm(5),
Documentation/admin-guide/iostats.rst (diskstats), Documentation/accounting/psi.rst (pressure),
Documentation/scheduler/sched-stats.rst (schedstat).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.frames import FrameFile, Series, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.text import MOST, KeyedColumns, keyed, rows_of, scaled, to_int

USER_HZ = os.sysconf("SC_CLK_TCK")
"""Ticks a second of /proc's CPU times: 100 on every architecture that Linux boards use."""
PAGE_BYTES = 4096
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


def pressure_values(payload: bytes, resource: str) -> dict[str, float]:
    """``psi_<resource>_{some,full}_total`` in seconds from one pressure file (microseconds)."""
    values: dict[str, float] = {}
    for line in payload.split(b"\n"):
        kind, _, rest = line.partition(b" ")
        _, found, total = rest.rpartition(b"total=")
        number = to_int(total)
        if kind in (b"some", b"full") and found and number is not None:
            values[f"psi_{resource}_{kind.decode()}_total"] = number / 1e6
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


_STAT = {
    "ppid": 1,
    "minflt": 7,
    "majflt": 9,
    "utime": 11,
    "stime": 12,
    "num_threads": 17,
    "start_time": 19,
    "vsize": 20,
    "rss": 21,
}
"""Positions after the command's closing parenthesis: field 3 of proc_pid_stat(5) is 0."""
_OF_IMAGE = ("comm", "vsize", "rss", "shared", "pss", "pss_anon", "pss_file", "swap")
_SMALL = ("ppid", "num_threads")
_IO = ("rchar", "wchar", "syscr", "syscw", "read_bytes", "write_bytes", "cancelled_write_bytes")
_ROLLUP = {b"Pss:": "pss", b"Pss_Anon:": "pss_anon", b"Pss_File:": "pss_file", b"Swap:": "swap"}


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


def inner_pid(payload: bytes) -> int | None:
    """The id that a process has in its own pid namespace, from its status file; None: it is in the reader's."""
    found = _NSPID.search(payload)
    ids = found[1].split() if found else []
    number = to_int(ids[-1]) if len(ids) > 1 else None
    return number if number is not None and 0 < number < 1 << 31 else None


_NSPID = re.compile(rb"^NSpid:([^\n]{1,400})$", re.MULTILINE)


def role_of(payload: bytes) -> str | None:
    """The role of a process by its cgroup's path (proc_pid_cgroup): ``.../role-NAME``."""
    found = _ROLE.search(payload)
    return found[1].decode("utf-8", "replace") if found else None


_ROLE = re.compile(rb"/role-([^/\n]{1,64})")


def read_process(file: str, payload: bytes, page_bytes: int) -> dict[str, object]:
    """The columns that one file of /proc/PID tells; nothing for a file that is cut or not known."""
    reader = _READERS.get(file)
    return reader(payload, page_bytes) if reader else {}


def _process_stat(payload: bytes, page_bytes: int) -> dict[str, object]:
    opening, closing = payload.find(b"("), payload.rfind(b")")
    fields = payload[closing + 2 :].split(None, 64)
    if not 0 <= opening < closing or len(fields) < 22:
        return {}
    values: dict[str, object] = {
        "comm": payload[opening + 1 : closing].decode("utf-8", "replace"),
        "state": fields[0].decode("ascii", "replace"),
    }
    for name, position in _STAT.items():
        number = to_int(fields[position])
        if number is not None and name in ("utime", "stime", "start_time"):
            values[name] = number / USER_HZ
        else:
            values[name] = scaled(number, page_bytes) if number is not None and name == "rss" else number
    for name in _SMALL:
        number = to_int(fields[_STAT[name]])
        if number is not None and not 0 <= number < 1 << 31:
            values[name] = None
    if values["state"] in ("Z", "X"):  # it has ended and has no memory any more: the kernel writes zeros
        values["vsize"] = values["rss"] = None
    return values


def _process_io(payload: bytes, page_bytes: int) -> dict[str, object]:
    values = keyed(payload, "")
    return {name: int(values[name]) for name in _IO if name in values}


def _process_statm(payload: bytes, page_bytes: int) -> dict[str, object]:
    fields = [to_int(text) for text in payload.split(None, 7)]
    if len(fields) < 3 or fields[2] is None or not fields[0]:  # of size 0: it has ended
        return {}
    return {"shared": scaled(fields[2], page_bytes)}


def _process_schedstat(payload: bytes, page_bytes: int) -> dict[str, object]:
    fields = [to_int(text) for text in payload.split(None, 3)]
    return {"run_delay": fields[1] / 1e9} if len(fields) >= 2 and fields[1] is not None else {}


def _process_rollup(payload: bytes, page_bytes: int) -> dict[str, object]:
    values: dict[str, object] = {}
    for line in payload.split(b"\n"):
        fields = line.split(None, 3)
        name = _ROLLUP.get(fields[0]) if len(fields) == 3 else None
        number = to_int(fields[1]) if name else None
        if name and number is not None:
            values[name] = scaled(number, 1024)
    return values


_READERS = {
    "stat": _process_stat,
    "io": _process_io,
    "statm": _process_statm,
    "schedstat": _process_schedstat,
    "smaps_rollup": _process_rollup,
}
