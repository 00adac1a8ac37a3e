"""Runs of several workloads at once, by role: what each did, and how well it kept its deadlines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from edgeprof.profiler.analysis.data import NS, Ints, RunData, floats, has_column, seconds, texts, times
from edgeprof.profiler.analysis.processes import Series, counter_sum, level_sum
from edgeprof.profiler.analysis.serving import DEADLINE, UNANSWERED
from edgeprof.workloads.scenarios.cgroups import LAUNCHER


@dataclass(frozen=True)
class RoleFigures:
    """One role; what was not measured is None.

    Attributes:
        role: its name.
        processes: seen at least once.
        steps: requests answered, or training steps.
        samples_per_second: samples of all steps / (end of the last - start of the first).
        latency_p50: of its steps, s; for requests from arrival to answer.
        latency_p99: likewise.
        latency_max: likewise.
        tail_ratio: p99 / p50.
        deadline: s; None: it has none.
        misses: steps that took longer than the deadline, and requests that were not answered when its time was over.
        miss_share: of all of these.
        cpu_time: s.
        rss_peak: bytes.
        block_read_bytes: of its own requests; what the kernel writes back later is nobody's.
        block_write_bytes: likewise.
        wait_cpu: s in which at least one of its tasks waited for a processor.
        wait_io: s in which at least one waited for the storage.
        wait_memory: s in which at least one waited for memory.
    """

    role: str
    processes: int
    steps: int
    samples_per_second: float | None
    latency_p50: float | None
    latency_p99: float | None
    latency_max: float | None
    tail_ratio: float | None
    deadline: float | None
    misses: int | None
    miss_share: float | None
    cpu_time: float | None
    rss_peak: float | None
    block_read_bytes: float | None
    block_write_bytes: float | None
    wait_cpu: float | None
    wait_io: float | None
    wait_memory: float | None


def role_of_pid(data: RunData) -> dict[int, str]:
    """Process id -> its role; empty for a run without roles."""

    def read() -> dict[int, str]:
        table = data.table("process")
        if table is None or not has_column(table, "role"):
            return {}
        pairs = zip(table["pid"].to_pylist(), texts(table, "role"), strict=True)
        return {int(pid): role for pid, role in pairs if role}

    return data.once("role_of_pid", read)


def roles(data: RunData) -> list[str]:
    """Roles in order of their first process, without the one that starts them."""
    return [role for role in dict.fromkeys(role_of_pid(data).values()) if role != LAUNCHER]


def rows_of(data: RunData, name: str, role: str) -> pa.Table | None:
    """Rows of a table that bear a pid of the role; None where there are none."""
    table = data.table(name)
    if table is None:
        return None
    known = role_of_pid(data)
    chosen = pa.array([known.get(pid) == role if pid is not None else False for pid in table["pid"].to_pylist()])
    found = table.filter(chosen)
    return found if found.num_rows else None


def role_steps(data: RunData, role: str) -> tuple[Ints, Ints]:
    """Start and end of the role's steps, ns."""
    table = rows_of(data, "steps", role)
    if table is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    whole = table.filter(pa.array(~np.isnan(floats(table, "start_ns"))))
    return times(whole, "start_ns"), times(whole, "end_ns")


def role_deadline(data: RunData, role: str) -> float | None:
    """The deadline that the role's processes stated (mark ``deadline``), s."""
    stated = _marks(data, role, DEADLINE)
    return stated[-1] if stated and stated[-1] > 0 else None


def _marks(data: RunData, role: str, name: str) -> list[float]:
    """Values of the role's marks of one name."""
    table = rows_of(data, "marks", role)
    if table is None:
        return []
    pairs = zip(texts(table, "name"), floats(table, "value"), strict=True)
    return [float(value) for found, value in pairs if found == name and not np.isnan(value)]


def role_series(data: RunData, role: str, column: str) -> Series | None:
    """A cumulative figure of the role's cgroup; None where it was not captured."""
    table = data.table("roles")
    if table is None or not has_column(table, column):
        return None
    own = table.filter(pa.array([item == role for item in texts(table, "role")]))
    values, at = floats(own, column), times(own)
    known = ~np.isnan(values)
    if known.sum() < 2:
        return None
    return Series(at[known], np.maximum.accumulate(values[known]))


def cpu_series(data: RunData, role: str) -> Series | None:
    """CPU time of the role: its cgroup's account, else that of its processes."""
    found = role_series(data, role, "cpu_usage")
    if found is not None:
        return found
    table = rows_of(data, "process", role)
    if table is None or not has_column(table, "utime") or not has_column(table, "stime"):
        return None
    user, kernel = (counter_sum(table, name, data.start_ns) for name in ("utime", "stime"))
    if len(user.times) != len(kernel.times) or len(user.times) < 2:
        return None
    return Series(user.times, user.values + kernel.values)


def figures(data: RunData) -> list[RoleFigures]:
    """The figures of each role; empty for a run without roles."""
    return [_figures(data, role) for role in roles(data)]


def _figures(data: RunData, role: str) -> RoleFigures:
    start, end = role_steps(data, role)
    took = seconds(end - start)
    deadline = role_deadline(data, role)
    unanswered = int(sum(_marks(data, role, UNANSWERED)))
    requests_seen = len(took) + unanswered
    misses = int((took > deadline).sum()) + unanswered if deadline is not None and requests_seen else None
    p50, p99 = (float(np.percentile(took, share)) if len(took) else None for share in (50, 99))
    steps = rows_of(data, "steps", role)
    samples = float(np.nansum(floats(steps, "samples"))) if steps is not None else 0.0
    span = float(end.max() - start.min()) * NS if len(took) else 0.0
    process = rows_of(data, "process", role)
    resident = level_sum(process, "rss").values if process is not None and has_column(process, "rss") else None
    requests = rows_of(data, "block_io", role)
    return RoleFigures(
        role=role,
        processes=sum(item == role for item in role_of_pid(data).values()),
        steps=len(took),
        samples_per_second=samples / span if samples and span > 0 else None,
        latency_p50=p50,
        latency_p99=p99,
        latency_max=float(took.max()) if len(took) else None,
        tail_ratio=p99 / p50 if p99 is not None and p50 else None,
        deadline=deadline,
        misses=misses,
        miss_share=misses / requests_seen if misses is not None else None,
        cpu_time=_grown(cpu_series(data, role)),
        rss_peak=float(resident.max()) if resident is not None and len(resident) else None,
        block_read_bytes=_moved(data, requests, "read"),
        block_write_bytes=_moved(data, requests, "write"),
        wait_cpu=_grown(role_series(data, role, "psi_cpu_some_total")),
        wait_io=_grown(role_series(data, role, "psi_io_some_total")),
        wait_memory=_grown(role_series(data, role, "psi_memory_some_total")),
    )


def _grown(series: Series | None) -> float | None:
    return float(series.values[-1] - series.values[0]) if series is not None else None


def _moved(data: RunData, requests: pa.Table | None, op: str) -> float | None:
    if data.table("block_io") is None:
        return None
    if requests is None:
        return 0.0
    chosen = np.array([item == op for item in texts(requests, "op")])
    return float(np.nansum(floats(requests, "bytes")[chosen]))
