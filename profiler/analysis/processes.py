"""Sums over the run's processes, which come and go and are not all sampled at every tick."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from edgeprof.profiler.analysis.data import Floats, Ints, RunData, floats, has_column, times

SHORT_LIVED = "those that lived shorter than a sampling interval are missed"
"""What every sum over sampled processes leaves out."""

WAITED = "the kernel's account of the workload's first process and all descendants that were waited for"
"""Where `exit_usage` comes from."""


class Series(NamedTuple):
    """A quantity over time: CLOCK_MONOTONIC ns, ascending and unique, and the value from then on."""

    times: Ints
    values: Floats


def exit_usage(data: RunData, *names: str) -> float | None:
    """Sum of figures that the kernel gave when the workload's first process was waited for (wait4(2)).

    They cover that process and all descendants that were waited for, however short-lived;
    None for an interrupted run.
    """
    usage = data.run.get("rusage") or {}
    values = [float(usage[name]) for name in names if isinstance(usage.get(name), (int, float))]
    return sum(values) if len(values) == len(names) else None


def process_keys(table: pa.Table) -> Ints:
    """One number a process for each row; a pid used again by a later process counts as another."""
    pids: Ints = table["pid"].combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    if not has_column(table, "start_time"):
        return pids
    starts = _filled(pids, times(table), floats(table, "start_time"))
    both = np.stack([pids.astype(np.float64), starts], axis=1)
    _, inverse = np.unique(both, axis=0, return_inverse=True)
    keys: Ints = inverse.reshape(-1).astype(np.int64)
    return keys


def _filled(pids: Ints, at: Ints, starts: Floats) -> Floats:
    """Start times with gaps filled from the same pid's row before, else from the one after."""
    order = np.lexsort((at, pids))
    pid, start = pids[order], starts[order]
    for step in (1, -1):  # forwards, then backwards
        pid, start = pid[::step], start[::step]
        source = np.maximum.accumulate(np.where(np.isnan(start), 0, np.arange(len(start))))
        start = np.where(np.isnan(start) & (pid[source] == pid), start[source], start)
        pid, start = pid[::step], start[::step]
    filled = np.empty(len(starts))
    filled[order] = np.nan_to_num(start, nan=-1.0)
    return filled


def level_sum(table: pa.Table, column: str) -> Series:
    """Sum of a level (such as resident set size) over the processes alive at each sample.

    A process holds its last known value until its next one, and leaves at the first
    sample in which it no longer appears.
    """
    return _sum(table, column, start_ns=None, leave=True)


def counter_sum(table: pa.Table, column: str, start_ns: int | None) -> Series:
    """Sum of a cumulative counter (such as faults) over all processes seen so far, dead ones included.

    What a process had counted at or before ``start_ns`` (the held child before its exec) is left out.
    """
    return _sum(table, column, start_ns=start_ns, leave=False)


def waited_total(table: pa.Table, column: str, start_ns: int | None) -> float | None:
    """Total of a counter of /proc/PID/io over the run's processes, each byte counted once.

    When a process is waited for, the kernel adds its counters to its parent's (``wait_task_zombie`` adds
    ``signal->ioac``).  So a process whose parent was still seen after its own end is already in the parent's figure
    and is left out; None when no process has the counter.
    """
    at, keys, values = times(table), process_keys(table), floats(table, column)
    known = ~np.isnan(values)
    if not known.any():
        return None
    order = np.lexsort((at[known], keys[known]))
    key, when, value = keys[known][order], at[known][order], values[known][order]
    pid, parent = (floats(table, name)[known][order] for name in ("pid", "ppid"))
    last = np.r_[key[1:] != key[:-1], True]
    first = np.r_[True, last[:-1]]
    base = np.where((when <= start_ns) & first, value, 0.0)[first] if start_ns is not None else np.zeros(last.sum())
    seen_last = {int(owner): int(end) for owner, end in zip(pid[last], when[last], strict=True)}
    included = np.array(
        [
            not np.isnan(mother) and seen_last.get(int(mother), -1) > end
            for mother, end in zip(parent[last], when[last], strict=True)
        ]
    )
    return float((np.clip(value[last] - base, 0, None))[~included].sum())


def _sum(table: pa.Table, column: str, start_ns: int | None, leave: bool) -> Series:
    at, keys = times(table), process_keys(table)
    values = floats(table, column)
    ticks = np.unique(at)
    known = ~np.isnan(values)
    order = np.lexsort((at[known], keys[known]))
    key, when, value = keys[known][order], at[known][order], values[known][order]
    if not len(key):
        return Series(np.empty(0, np.int64), np.empty(0))
    first = np.r_[True, key[1:] != key[:-1]]
    change = np.r_[0.0, np.diff(value)]
    change[first] = value[first]
    if start_ns is not None:
        change[first & (when <= start_ns)] = 0.0
    if not leave:
        change = np.clip(change, 0, None)
    total: Floats = np.bincount(np.searchsorted(ticks, when), weights=change, minlength=len(ticks)).astype(np.float64)
    if leave:
        total = total - _departures(at, keys, ticks, key, value)
    started = ticks >= when.min()
    return Series(ticks[started], np.cumsum(total)[started])


def _departures(at: Ints, keys: Ints, ticks: Ints, key: Ints, value: Floats) -> Floats:
    """What leaves at each tick: the last value of each process that was last seen at the tick before."""
    last_value = np.r_[key[1:] != key[:-1], True]
    leaving = key[last_value]
    seen = np.full(int(keys.max()) + 1, np.iinfo(np.int64).min)
    np.maximum.at(seen, keys, at)
    tick = np.searchsorted(ticks, seen[leaving], side="right")
    gone = tick < len(ticks)
    lost: Floats = np.bincount(tick[gone], weights=value[last_value][gone], minlength=len(ticks)).astype(np.float64)
    return lost
