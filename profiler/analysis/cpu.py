"""Metrics of the processor: CPU time of the run, time that CPUs waited for I/O, context switches."""

from __future__ import annotations

from edgeprof.profiler.analysis.data import RunData, Value, growth, has_column, missing
from edgeprof.profiler.analysis.perf import event_total
from edgeprof.profiler.analysis.processes import SHORT_LIVED, WAITED, counter_sum, exit_usage


def cpu_time(data: RunData) -> Value:
    """User and system CPU time of the run: its cgroup's account, else the larger of two of its processes'."""
    table = data.table("cgroup")
    if table is not None and has_column(table, "cpu_usage"):
        grown = growth(table, "cpu_usage")
        if grown is not None:
            return Value(grown[0], "the cgroup's account")
    processes, own = data.table("process"), None
    if processes is not None and has_column(processes, "utime") and has_column(processes, "stime"):
        own = sum(float(counter_sum(processes, name, data.start_ns).values[-1]) for name in ("utime", "stime"))
    waited = exit_usage(data, "utime", "stime")
    if waited is not None and waited >= (own or 0.0):
        return Value(waited, WAITED)
    if own is None:
        return missing(data.why_absent("process"))
    return Value(own, f"utime + stime of the run's processes; {SHORT_LIVED}")


def io_wait(data: RunData) -> Value:
    """Time that CPUs of the machine were idle while a task waited for I/O, summed over CPUs (iowait of /proc/stat)."""
    table = data.table("system")
    if table is None:
        return missing(data.why_absent("system"))
    if not has_column(table, "cpu_iowait"):
        return missing("the kernel does not account I/O wait")
    grown = growth(table, "cpu_iowait")
    if grown is None:
        return missing("the run was too short for two samples")
    return Value(grown[0], "iowait of all CPUs, other programs included")


def context_switches(data: RunData) -> Value:
    """Context switches of the run's tasks, as perf counted them, else as the kernel gave them at the end."""
    counted = event_total(data, "context-switches")
    if counted.value is not None:
        return counted
    waited = exit_usage(data, "voluntary_context_switches", "involuntary_context_switches")
    return Value(waited, WAITED) if waited is not None else counted
