"""Metrics of the run as a whole: wall time, and the share of it that phases account for."""

from __future__ import annotations

from edgeprof.collectors.phases.parse import coverage
from edgeprof.profiler.analysis.data import RunData, Value, missing
from edgeprof.profiler.analysis.timeline import main_phases, no_phases


def wall_time(data: RunData) -> Value:
    """Time from the workload's exec to its exit; of an interrupted run, to its last sample."""
    value = data.run.get("wall_time")
    if isinstance(value, (int, float)) and value >= 0:
        interrupted = data.run.get("status") == "interrupted"
        until = "last sample of the interrupted run" if interrupted else "exit"
        return Value(float(value), f"{until} minus exec of the workload's first process")
    return missing("the run was interrupted, so its end is not known")


def phase_coverage(data: RunData) -> Value:
    """Share of the wall time that lies inside at least one phase of the main process's main thread."""
    phases = main_phases(data)
    if phases is None:
        return missing(no_phases(data))
    if data.start_ns is None or data.end_ns is None or not data.seconds:
        return missing("the run's start or end is not known")
    share = coverage(phases, data.start_ns, data.end_ns)
    return Value(share, "union of phases of the main process's main thread / time from exec to exit")
