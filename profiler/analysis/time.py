"""Metrics of the run as a whole: wall time, and the share of it that phases account for."""

from __future__ import annotations

import numpy as np

from edgeprof.profiler.analysis.data import NS, RunData, Value, missing, times
from edgeprof.profiler.analysis.timeline import main_phases, overlap


def wall_time(data: RunData) -> Value:
    """Time from the workload's exec to its exit."""
    value = data.run.get("wall_time")
    if isinstance(value, (int, float)) and value >= 0:
        return Value(float(value), "exit minus exec of the workload's first process")
    return missing("the run was interrupted, so its end is not known")


def phase_coverage(data: RunData) -> Value:
    """Share of the wall time that lies inside at least one phase of the main process."""
    phases = main_phases(data)
    if phases is None:
        return missing(f"no phase was recorded: {data.why_absent('phases')}")
    if data.start_ns is None or data.end_ns is None or data.seconds is None:
        return missing("the run's start or end is not known")
    window = np.array([data.start_ns]), np.array([data.end_ns])
    covered = float(overlap(times(phases, "start_ns"), times(phases, "end_ns"), *window)[0]) * NS
    return Value(min(covered / data.seconds, 1.0), "union of the main process's phases / time from exec to exit")
