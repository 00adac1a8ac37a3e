"""Metrics of the profiler itself, from the manifest: what it used, and what it lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeprof.profiler.analysis.data import RunData, Value, missing


def _overhead(data: RunData) -> Mapping[str, Any]:
    part: Mapping[str, Any] = data.manifest.get("overhead") or {}
    return part


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


_UNKNOWN = "the run was interrupted before the profiler accounted for itself"


def overhead_cpu(data: RunData) -> Value:
    """CPU time of the profiler during the run, its helper processes included."""
    own = _number(_overhead(data).get("cpu_seconds"))
    if own is None:
        return missing(_UNKNOWN)
    helpers = _number(_overhead(data).get("helper_cpu_seconds")) or 0.0
    return Value(own + helpers, f"{own:.6g} s of the profiler, {helpers:.6g} s of its helpers")


def overhead_cpu_share(data: RunData) -> Value:
    """CPU time of the profiler and its helpers / wall time: the share of one core."""
    used = overhead_cpu(data)
    if used.value is None:
        return used
    if not data.seconds:
        return missing("the length of the run is not known")
    return Value(used.value / data.seconds, "overhead_cpu / time from exec to exit, of one core")


def overhead_bytes(data: RunData) -> Value:
    """Bytes that the profiler wrote while the workload ran."""
    value = _number(_overhead(data).get("bytes_written"))
    return Value(value, "bytes of raw data and manifest") if value is not None else missing(_UNKNOWN)


def lost_records(data: RunData) -> Value:
    """Records that the kernel or a collector dropped, over all collectors."""
    known: list[tuple[str, float]] = []
    unknown: list[tuple[str, float]] = []
    for entry in data.manifest.get("collectors") or ():
        if entry.get("available", True):
            lost = _number(entry.get("lost"))
            (unknown if lost is None else known).append((str(entry.get("name")), lost or 0.0))
    if not known:
        total = _number(_overhead(data).get("lost_records"))
        return (
            Value(total, "the profiler's own count")
            if total is not None
            else missing("no collector can tell what it lost")
        )
    how = "sum over " + ", ".join(name for name, _ in known)
    if unknown:
        how += "; cannot be known for " + ", ".join(name for name, _ in unknown)
    return Value(sum(lost for _, lost in known), how)
