"""Turns the frames of the run's cgroup into the tables cgroup, cgroup_io and roles.

Formats: Documentation/admin-guide/cgroup-v2.rst; Documentation/admin-guide/cgroup-v1/{memory,blkio-controller}.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from edgeprof.collectors import schema
from edgeprof.collectors.cgroup.capture import ROLE_PREFIX
from edgeprof.collectors.cgroup.readings import NO_LIMIT, blkio, io_stat
from edgeprof.collectors.frames import FrameFile, read_frames
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.procfs.readings import USER_HZ, pressure_values
from edgeprof.collectors.text import KeyedColumns, keyed, to_int

_SINGLE = {
    "unified/memory.current": "memory_current",
    "unified/memory.peak": "memory_peak",
    "unified/memory.max": "memory_limit",
    "unified/memory.swap.current": "swap_current",
    "memory/memory.usage_in_bytes": "memory_current",
    "memory/memory.max_usage_in_bytes": "memory_peak",
    "memory/memory.limit_in_bytes": "memory_limit",
    "memory/memory.failcnt": "events_max",
}
_KEYED = {
    "unified/memory.stat": "stat_",
    "unified/memory.events": "events_",
    "memory/memory.stat": "stat_",
    "memory/memory.oom_control": "oom_",
}


def parse(raw: Path, facts: RunFacts) -> Parsed:
    """Tables cgroup, cgroup_io and roles from ``raw/cgroup/samples.frames``."""
    try:
        frames = read_frames(raw / "cgroup" / "samples.frames")
    except FileNotFoundError:
        return Parsed({})
    notes = [f"cgroup: {frames.damage}"] if frames.damage else []
    tables = {"cgroup": cgroup_table(frames, notes), "cgroup_io": io_table(frames)}
    if frames.matching(ROLE_PREFIX):
        tables["roles"] = roles_table(frames)
    return Parsed(tables, notes)


def roles_table(frames: FrameFile) -> pa.Table:
    """One row a sample and role: the columns of the table cgroup that a role's own cgroup tells."""
    names = dict.fromkeys(series.name.partition("/")[0] for series in frames.matching(ROLE_PREFIX))
    rows: dict[str, list[object]] = {name: [] for name in schema.SCHEMAS["roles"].names}
    for name in names:
        prefix = name + "/"
        own = {series.name[len(prefix) :]: series for series in frames.matching(prefix)}
        table = cgroup_table(FrameFile(own, None))
        for column, values in rows.items():
            if column == "role":
                values += [name[len(ROLE_PREFIX) :]] * table.num_rows
            else:
                known = column in table.column_names
                values += table[column].to_pylist() if known else [None] * table.num_rows
    order = sorted(range(len(rows["time_ns"])), key=lambda row: (rows["time_ns"][row], rows["role"][row]))
    return schema.table("roles", {name: [values[row] for row in order] for name, values in rows.items()})


def cgroup_table(frames: FrameFile, notes: list[str] | None = None) -> pa.Table:
    """One row a sample: memory (bytes), memory.stat (``stat_*``), CPU use (s), throttling, pressure totals (s).

    ``cpu_limit`` is in CPUs, null where there is none.  What had to be left out is added to ``notes``.
    """
    columns = KeyedColumns()
    for source, name in _SINGLE.items():
        for time_ns, payload in _samples(frames, source):
            number = to_int(payload.strip())
            if number is not None and not (name == "memory_limit" and number >= NO_LIMIT):
                columns.add(time_ns, {name: number})
    for source, prefix in _KEYED.items():
        for time_ns, payload in _samples(frames, source):
            columns.add(time_ns, keyed(payload, prefix))
    for time_ns, payload in _samples(frames, "unified/cpu.stat"):
        columns.add(time_ns, _cpu_stat(keyed(payload, "")))
    for time_ns, payload in _samples(frames, "cpu/cpu.stat"):
        columns.add(time_ns, _v1_cpu_stat(keyed(payload, "")))
    for time_ns, payload in _samples(frames, "cpuacct/cpuacct.usage"):
        number = to_int(payload.strip())
        if number is not None:
            columns.add(time_ns, {"cpu_usage": number / 1e9})
    for time_ns, payload in _samples(frames, "cpuacct/cpuacct.stat"):
        columns.add(time_ns, {f"cpu_{key}": value / USER_HZ for key, value in keyed(payload, "").items()})
    for time_ns, limit in _cpu_limits(frames):
        columns.add(time_ns, {"cpu_limit": limit})
    for resource in ("cpu", "memory", "io"):
        for time_ns, payload in _samples(frames, f"unified/{resource}.pressure"):
            columns.add(time_ns, pressure_values(payload, resource))
    table = columns.table("cgroup", _unit)
    if columns.dropped and notes is not None:
        notes.append(f"cgroup: the {columns.dropped} rarest columns of the table cgroup were left out: it is too large")
    return table


def _cpu_limits(frames: FrameFile) -> Iterator[tuple[int, float]]:
    """Quota by period: v2 ``cpu.max`` ("max" is no limit), v1 ``cpu.cfs_quota_us`` (-1 is none)."""
    pairs = [(time_ns, payload.split(None, 2)) for time_ns, payload in _samples(frames, "unified/cpu.max")]
    periods = dict(_samples(frames, "cpu/cpu.cfs_period_us"))
    pairs += [
        (time_ns, [payload, periods[time_ns]])
        for time_ns, payload in _samples(frames, "cpu/cpu.cfs_quota_us")
        if time_ns in periods
    ]
    for time_ns, fields in pairs:
        quota, period = [to_int(text.strip()) for text in fields[:2]] if len(fields) >= 2 else (None, None)
        if quota is not None and quota > 0 and period:
            yield time_ns, quota / period


def _samples(frames: FrameFile, name: str) -> zip[tuple[int, bytes]]:
    series = frames.get(name)
    return zip(series.times, series.payloads, strict=True)


def _cpu_stat(values: dict[str, float]) -> dict[str, float]:
    """v2 cpu.stat: microseconds to seconds; ``usage_usec`` is the schema's ``cpu_usage``."""
    return {
        "cpu_" + (key[: -len("_usec")] if key.endswith("_usec") else key): value / 1e6
        if key.endswith("_usec")
        else value
        for key, value in values.items()
    }


def _v1_cpu_stat(values: dict[str, float]) -> dict[str, float]:
    """v1 cpu.stat: times are in nanoseconds; they get the names that v2 has for them."""
    return {
        _V1_TIMES.get(key, f"cpu_{key}"): value / 1e9 if key in _V1_TIMES else value for key, value in values.items()
    }


_V1_TIMES = {"throttled_time": "cpu_throttled", "burst_time": "cpu_burst", "wait_sum": "cpu_wait"}
_COUNTS = ("stat_pg", "stat_workingset_", "stat_thp_", "stat_total_pg", "stat_swp", "stat_zswp", "events_", "oom_")


def _unit(name: str) -> str:
    if name == "cpu_limit":
        return "CPUs"
    if name.startswith("psi_") or (name.startswith("cpu_") and not name.startswith("cpu_nr_")):
        return "s"
    return "count" if name.startswith((*_COUNTS, "cpu_nr_")) else "bytes"


def io_table(frames: FrameFile) -> pa.Table:
    """One row a sample and device (``major:minor``): bytes and operations charged to the cgroup."""
    rows: dict[tuple[int, str], dict[str, int]] = {}
    for time_ns, payload in _samples(frames, "unified/io.stat"):
        for device, values in io_stat(payload).items():
            rows[time_ns, device] = values
    for file, what in (("io_service_bytes", "bytes"), ("io_serviced", "ios")):
        for time_ns, payload in _samples(frames, f"blkio/blkio.throttle.{file}_recursive"):
            for device, values in blkio(payload, what).items():
                rows.setdefault((time_ns, device), {}).update(values)
    keys = sorted(rows)
    names = ("read_bytes", "write_bytes", "read_ios", "write_ios")
    columns = {name: pa.array([rows[key].get(name) for key in keys], pa.int64()) for name in names}
    times, devices = [key[0] for key in keys], [key[1] for key in keys]
    return schema.table("cgroup_io", {"time_ns": times, "device": devices, **columns})


def members(raw: Path) -> frozenset[int]:
    """All thread and process ids that were ever seen in the run's cgroup."""
    try:
        frames = read_frames(raw / "cgroup" / "samples.frames")
    except FileNotFoundError:
        return frozenset()
    found: set[int] = set()
    for payload in frames.get("members").payloads:
        found.update(number for text in payload.split() if (number := to_int(text)) is not None)
    return frozenset(found)
