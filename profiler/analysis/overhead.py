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
    """CPU time of the profiler from its start to its end, preparation and helper processes included."""
    used = _number(_overhead(data).get("cpu_seconds"))
    if used is None:
        return missing(_UNKNOWN)
    helpers = _number(_overhead(data).get("helper_cpu_seconds"))
    return Value(used, "the profiler's CPU time" + (f", {helpers:.3g} s of it in helpers" if helpers else ""))


def overhead_cpu_share(data: RunData) -> Value:
    """CPU time of the profiler and its helpers while the workload ran / wall time: the share of one core."""
    share = _number(_overhead(data).get("cpu_share"))
    return Value(share, "of one core, while the workload ran") if share is not None else missing(_UNKNOWN)


def overhead_bytes(data: RunData) -> Value:
    """Bytes of raw data that the profiler wrote."""
    value = _number(_overhead(data).get("bytes_written"))
    return Value(value, "bytes of raw data") if value is not None else missing(_UNKNOWN)


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
