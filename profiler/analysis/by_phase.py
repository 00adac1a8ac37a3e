"""Metrics cut by phase: what each phase of the main process took, read, wrote and held.

A moment belongs to the innermost phase of the main process's main thread.  Sampled
counters are divided at phase borders by linear interpolation; where a phase's
intervals are mostly shorter than the samples are apart, that would only spread the
counter evenly over time, so such a value is null with a reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.profiler.analysis.block import run_requests, sampled
from edgeprof.profiler.analysis.data import NS, Floats, RunData, Value, equals, floats, has_column, missing, times
from edgeprof.profiler.analysis.processes import Series, counter_sum, level_sum
from edgeprof.profiler.analysis.timeline import Timeline, timeline


class PhaseValue(NamedTuple):
    """One metric of one phase."""

    name: str
    unit: str
    phase: str
    value: Value


def phase_metrics(data: RunData) -> Iterator[PhaseValue]:
    """All metrics of all phases, phase by phase in order of first appearance."""
    line = timeline(data)
    if line is None:
        return
    counters = _counters(data)
    levels = dict(_levels(data))
    for label, phase in enumerate(line.names):
        begun = _starts(data, phase)
        if not begun:
            continue  # a phase of other processes only
        spans = line.seconds(label)
        total = float(spans.sum())
        yield PhaseValue("wall_time", "s", phase, Value(total, "time of the main thread with this phase innermost"))
        yield PhaseValue("phase_count", "count", phase, Value(float(begun), "phases of this name"))
        yield from _block(data, phase)
        for name, (unit, series, how) in counters.items():
            value = _share_of_counter(line, label, spans, series, how)
            if unit == "share" and value.value is not None:
                value = Value(min(value.value / total, 1.0) if total else 0.0, value.how)
            yield PhaseValue(name, unit, phase, value)
        for name, (series, how) in levels.items():
            inside = series.values[line.label_at(series.times) == label]
            absent = missing("no sample fell into this phase")
            peak, mean = (np.max, np.mean) if len(inside) else (None, None)
            yield PhaseValue(f"{name}_peak", "bytes", phase, Value(float(peak(inside)), how) if peak else absent)
            yield PhaseValue(f"{name}_mean", "bytes", phase, Value(float(mean(inside)), how) if mean else absent)


def _starts(data: RunData, phase: str) -> int:
    table = data.table("phases")
    return int((equals(table, "name", phase) & pc.fill_null(table["main"], False).to_numpy()).sum()) if table else 0


def _block(data: RunData, phase: str) -> Iterator[PhaseValue]:
    reason = sampled(data)
    table = run_requests(data)
    if table is None and reason is None and not data.present("block_io"):
        reason = data.why_absent("block_io")
    rows = table.filter(pa.array(equals(table, "phase", phase))) if table is not None else None
    for op in ("read", "write"):
        total = float(np.nansum(floats(rows, "bytes")[equals(rows, "op", op)])) if rows is not None else 0.0
        value = missing(reason) if reason else Value(total, f"{op} requests of the run queued in this phase")
        yield PhaseValue(f"block_{op}_bytes", "bytes", phase, value)
    count = float(rows.num_rows) if rows is not None else 0.0
    value = missing(reason) if reason else Value(count, "requests of the run queued in this phase")
    yield PhaseValue("block_requests", "count", phase, value)


def _levels(data: RunData) -> Iterator[tuple[str, tuple[Series, str]]]:
    table = data.table("process")
    for name in ("rss", "pss"):
        if table is not None and has_column(table, name):
            yield name, (level_sum(table, name), "samples taken in this phase, summed over the run's processes")


def _counters(data: RunData) -> dict[str, tuple[str, Series, str]]:
    """Name -> unit, cumulative series and whose account it is, for each counter that was captured."""
    found: dict[str, tuple[str, Series, str]] = {}
    cgroup, process, system = data.table("cgroup"), data.table("process"), data.table("system")
    if cgroup is not None and has_column(cgroup, "cpu_usage"):
        found["cpu_time"] = ("s", _cumulative(cgroup, "cpu_usage"), "the cgroup's account")
    if process is not None:
        if "cpu_time" not in found and has_column(process, "utime") and has_column(process, "stime"):
            user, kernel = (counter_sum(process, name, data.start_ns) for name in ("utime", "stime"))
            if len(user.times) == len(kernel.times):
                found["cpu_time"] = ("s", Series(user.times, user.values + kernel.values), "the processes' account")
        for name, column in (("minor_faults", "minflt"), ("major_faults", "majflt")):
            if has_column(process, column):
                found[name] = ("count", counter_sum(process, column, data.start_ns), "the processes' account")
    for name in ("memory", "io"):
        column = f"psi_{name}_some_total"
        for table, whose in ((cgroup, "the run's cgroup"), (system, "the whole machine")):
            if table is not None and has_column(table, column):
                found[f"psi_{name}_some"] = ("share", _cumulative(table, column), whose)
                break
    return found


def _cumulative(table: pa.Table, column: str) -> Series:
    values, at = floats(table, column), times(table)
    known = ~np.isnan(values)
    at, first = np.unique(at[known], return_index=True)
    return Series(at, np.maximum.accumulate(values[known][first]))


def _share_of_counter(line: Timeline, label: int, spans: Floats, series: Series, how: str) -> Value:
    if len(series.times) < 2:
        return missing("the run was too short for two samples")
    apart = float(np.median(np.diff(series.times))) * NS
    long_enough = float(spans[spans >= apart].sum())
    if not len(spans) or long_enough < 0.5 * float(spans.sum()):
        return missing(
            f"intervals of this phase (median {np.median(spans) if len(spans) else 0:.3g} s)"
            f" are mostly shorter than the samples are apart ({apart:.3g} s)"
        )
    origin = series.times[0]
    at_edges = np.interp((line.edges - origin).astype(float), (series.times - origin).astype(float), series.values)
    grown = float(np.diff(at_edges)[line.labels == label].sum())
    return Value(grown, f"{how}, interpolated between samples {apart:.3g} s apart")
