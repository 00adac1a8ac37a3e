"""Who delayed whom: what a role waited for while its requests were late, and which roles used it meanwhile.

A role's waiting for a processor or for the storage is the kernel's own figure (pressure stall information of the
role's cgroup), taken over the time of its late requests.  It is laid upon the others in proportion to what they used
of that resource in the same time: CPU time, or requests in flight on the disk.  That is attribution by coincidence, not
proof: two roles that use a processor at the same time get their share of the blame whether or not the one would have
let the waiting role go first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from edgeprof.profiler.analysis.data import NS, Floats, Ints, RunData, floats, has_column, texts, times
from edgeprof.profiler.analysis.processes import Series
from edgeprof.profiler.analysis.roles import (
    RoleFigures,
    cpu_series,
    figures,
    role_deadline,
    role_of_pid,
    role_series,
    role_steps,
    roles,
)
from edgeprof.profiler.analysis.timeline import merge, overlap

ITSELF = "itself"
OTHERS = "others"
"""Whoever is not of the run: other programs, and the kernel's own threads (such as writeback)."""
LEAST = 0.01
"""Seconds of waiting below which nobody is blamed."""


@dataclass(frozen=True)
class Delay:
    """How long ``victim`` waited for a resource that ``culprit`` used.

    Attributes:
        victim: the role that waited.
        culprit: a role, `ITSELF` or `OTHERS`.
        resource: ``cpu`` or ``storage``.
        seconds: the culprit's part of the waiting.
        share: of the victim's waiting for that resource.
    """

    victim: str
    culprit: str
    resource: str
    seconds: float
    share: float


def delays(data: RunData) -> list[Delay]:
    """All delays of all roles that have a deadline, or else steps; the longest first."""
    found: list[Delay] = []
    for victim in roles(data):
        start, end = late_windows(data, victim)
        if not len(start):
            continue
        for resource, waited, used in (
            ("cpu", _within(role_series(data, victim, "psi_cpu_some_total"), start, end), _cpu_users),
            ("storage", _within(role_series(data, victim, "psi_io_some_total"), start, end), _storage_users),
        ):
            if waited is None or waited < LEAST:
                continue
            users = used(data, victim, start, end)
            total = sum(users.values())
            found += [
                Delay(victim, name, resource, waited * part / total, part / total)
                for name, part in users.items()
                if total > 0 and part > 0
            ]
    return sorted(found, key=lambda item: -item.seconds)


def late_windows(data: RunData, role: str) -> tuple[Ints, Ints]:
    """When the role was late: the union of its steps that missed their deadline; of all steps if it missed none."""
    start, end = role_steps(data, role)
    deadline = role_deadline(data, role)
    late = (end - start) * NS > deadline if deadline is not None else np.zeros(len(start), bool)
    if late.any():
        start, end = start[late], end[late]
    return merge(start, end)


def _within(series: Series | None, start: Ints, end: Ints) -> float | None:
    """How much a cumulative figure grew within the windows, interpolated between samples."""
    if series is None:
        return None
    origin = series.times[0]
    at = (series.times - origin).astype(np.float64)
    first, last = (np.interp((edge - origin).astype(np.float64), at, series.values) for edge in (start, end))
    return float((last - first).sum())


def _cpu_users(data: RunData, victim: str, start: Ints, end: Ints) -> dict[str, float]:
    """CPU time of each role in the windows; of the victim only what is beyond one processor: its own threads."""
    used: dict[str, float] = {}
    for role in roles(data):
        seconds = _within(cpu_series(data, role), start, end) or 0.0
        if role == victim:
            used[ITSELF] = max(0.0, seconds - float((end - start).sum()) * NS)
        else:
            used[role] = seconds
    busy = _within(_machine(data), start, end)
    if busy is not None:
        own = sum(_within(cpu_series(data, role), start, end) or 0.0 for role in roles(data))
        used[OTHERS] = max(0.0, busy - own)
    return used


def _machine(data: RunData) -> Series | None:
    """CPU time that the whole machine used."""
    table = data.table("system")
    names = ("cpu_user", "cpu_nice", "cpu_system", "cpu_irq", "cpu_softirq")
    if table is None or not all(has_column(table, name) for name in names[:3]):
        return None
    total: Floats = sum((np.nan_to_num(floats(table, name)) for name in names if has_column(table, name)), np.zeros(1))
    known = ~np.isnan(floats(table, "cpu_user"))
    return Series(times(table)[known], np.maximum.accumulate(total[known])) if known.sum() > 1 else None


def _storage_users(data: RunData, victim: str, start: Ints, end: Ints) -> dict[str, float]:
    """Seconds of requests in flight of each role in the windows, on the disks that the victim used then."""
    table = data.table("block_io")
    if table is None:
        return {}
    begun, done = floats(table, "queued_ns"), floats(table, "completed_ns")
    begun = np.where(np.isnan(begun), floats(table, "issued_ns"), begun)
    whole = ~np.isnan(begun) & ~np.isnan(done) & (done > begun)
    known = role_of_pid(data)
    names = np.array([known.get(pid, OTHERS) for pid in table["pid"].to_pylist()], dtype=object)
    owners = np.array(texts(table, "owner"), dtype=object)
    names = np.where(owners == "profiler", OTHERS, names)
    devices = np.array(texts(table, "device"), dtype=object)
    inside = np.zeros(len(begun), bool)
    inside[whole] = overlap(start, end, begun[whole].astype(np.int64), done[whole].astype(np.int64)) > 0
    disks = set(devices[inside & (names == victim)].tolist()) or set(devices[inside].tolist())
    counted = inside & np.isin(devices, list(disks))
    flight = np.zeros(len(begun))
    flight[counted] = overlap(start, end, begun[counted].astype(np.int64), done[counted].astype(np.int64)) * NS
    used: dict[str, float] = {}
    for name in dict.fromkeys(names[counted].tolist()):
        used[ITSELF if name == victim else str(name)] = float(flight[names == name].sum())
    return used


def sentences(told: Sequence[RoleFigures], found: Sequence[Delay]) -> list[str]:
    """One sentence for each role that was late, or that waited: how often, for what, and behind whom."""
    lines = []
    for item in told:
        own = [delay for delay in found if delay.victim == item.role]
        parts = []
        for resource, what in (("cpu", "a processor"), ("storage", "the storage")):
            behind = [delay for delay in own if delay.resource == resource]
            if behind:
                names = ", ".join(f"{delay.culprit} {delay.share:.0%}" for delay in behind[:3] if delay.share >= 0.05)
                waited = sum(delay.seconds for delay in behind)
                parts.append(f"{waited:.3g} s for {what} (used meanwhile by {names})")
        if item.misses:
            requests = round(item.misses / (item.miss_share or 1))
            deadline = f"{1e3 * (item.deadline or 0):.3g} ms"
            head = f"{item.role} missed {item.misses} of {requests} deadlines of {deadline}"
            lines.append(f"{head}; while late it waited {' and '.join(parts) or 'for nothing that the kernel counts'}")
        elif parts:
            kept = "kept all its deadlines" if item.misses == 0 else "has no deadline"
            lines.append(f"{item.role} {kept}; it waited {' and '.join(parts)}")
    return lines


def account(data: RunData) -> dict[str, Any] | None:
    """Figures, delays and sentences of a run with roles as plain values, for the manifest; None without roles."""
    found = figures(data)
    if not found:
        return None
    who = delays(data)
    return {
        "figures": [asdict(item) for item in found],
        "delays": [asdict(item) for item in who],
        "sentences": sentences(found, who),
    }
