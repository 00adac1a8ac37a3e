"""Metrics of memory: how much the run held at most, and its page faults."""

from __future__ import annotations

import numpy as np

from edgeprof.profiler.analysis.data import RunData, Value, floats, growth, has_column, missing
from edgeprof.profiler.analysis.perf import event_total
from edgeprof.profiler.analysis.processes import SHORT_LIVED, WAITED, counter_sum, exit_usage, level_sum
from edgeprof.profiler.units import counted


def _peak(data: RunData, column: str, absent: str) -> Value:
    table = data.table("process")
    if table is None:
        return missing(data.why_absent("process"))
    if not has_column(table, column):
        return missing(absent)
    reads = len(table.filter(table[column].is_valid())["time_ns"].unique())
    how = f"largest sum over the run's processes; it was read at {counted(reads, 'moment')}"
    return Value(float(level_sum(table, column).values.max()), how)


def rss_peak(data: RunData) -> Value:
    """Largest sum of the resident set sizes of the run's processes; shared pages count in each."""
    return _peak(data, "rss", "the resident set sizes of the run's processes were not read")


def pss_peak(data: RunData) -> Value:
    """Largest sum of the proportional set sizes of the run's processes; shared pages count once."""
    return _peak(data, "pss", "smaps_rollup was not read: the run ended before, or it needs the same user or root")


def cgroup_memory_peak(data: RunData) -> Value:
    """Most memory that was charged to the run's cgroup, page cache included."""
    table = data.table("cgroup")
    if table is None:
        return missing(data.why_absent("cgroup"))
    if has_column(table, "memory_peak"):
        return Value(float(np.nanmax(floats(table, "memory_peak"))), "the kernel's own peak of the cgroup")
    if has_column(table, "memory_current"):
        return Value(float(np.nanmax(floats(table, "memory_current"))), "largest sample: this kernel keeps no peak")
    return missing("the run's cgroup has no memory controller")


def _faults(data: RunData, major: bool) -> Value:
    """Faults by the cgroup's account, else by perf's, else the larger of two accounts of the processes."""
    grouped = _cgroup_faults(data, major)
    if grouped is not None:
        return Value(grouped, "memory.stat of the run's cgroup")
    by_perf = event_total(data, "major-faults" if major else "minor-faults")
    if by_perf.value is not None:
        return by_perf
    table, column = data.table("process"), "majflt" if major else "minflt"
    own = None
    if table is not None and has_column(table, column):
        own = float(counter_sum(table, column, data.start_ns).values[-1])
    waited = exit_usage(data, "major_faults" if major else "minor_faults")
    if waited is not None and waited >= (own or 0.0):
        return Value(waited, WAITED)
    if own is None:
        return missing("the faults of the run's processes were not read" if table else data.why_absent("process"))
    return Value(own, f"{column} of the run's processes; {SHORT_LIVED}")


def _cgroup_faults(data: RunData, major: bool) -> float | None:
    table = data.table("cgroup")
    # cgroup v1 counts cgroups inside the run's, such as a container's, in total_* alone
    prefix = "stat_total_" if table is not None and has_column(table, "stat_total_pgfault") else "stat_"
    if table is None or not (has_column(table, prefix + "pgfault") and has_column(table, prefix + "pgmajfault")):
        return None
    every, majors = growth(table, prefix + "pgfault"), growth(table, prefix + "pgmajfault")
    if every is None or majors is None:
        return None
    return majors[0] if major else max(every[0] - majors[0], 0.0)


def minor_faults(data: RunData) -> Value:
    """Page faults served without storage."""
    return _faults(data, major=False)


def major_faults(data: RunData) -> Value:
    """Page faults that had to wait for storage."""
    return _faults(data, major=True)
