"""Metrics of steps: throughput, step time, and the share of a step that waits for input."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from edgeprof.profiler.analysis.data import NS, Floats, RunData, Value, floats, missing, percentile, seconds, times
from edgeprof.profiler.analysis.timeline import LOAD, VALIDATE, main_phases, named, no_phases, overlap


def step_table(data: RunData) -> pa.Table | None:
    """Rows of ``steps`` with a start and an end, of all processes that recorded any."""
    table = data.table("steps")
    if table is None:
        return None
    whole = table.filter(pc.fill_null(pc.greater_equal(table["end_ns"], table["start_ns"]), False))
    return whole if whole.num_rows else None


def no_steps(data: RunData) -> str:
    """The sentence that says why there are no steps and how to get some."""
    entry = data.collector("phases")
    if entry is None or not entry.get("available", True):
        return data.why_absent("steps")
    return "the program recorded no step; call edgeprof.step() at the end of each, or run it with --auto"


def steps(data: RunData) -> Value:
    """Number of steps recorded."""
    table = step_table(data)
    return Value(float(table.num_rows), "rows of the table steps") if table is not None else missing(no_steps(data))


def throughput(data: RunData) -> Value:
    """Samples of all steps / (end of the last step - start of the first one, less phase ``validate``)."""
    table = step_table(data)
    if table is None:
        return missing(no_steps(data))
    samples = total_samples(table)
    if samples is None:
        return missing("the steps do not say how many samples they had; call edgeprof.step(samples=...)")
    start, end = times(table, "start_ns").min(), times(table, "end_ns").max()
    validated = _validated(data, int(start), int(end))
    span = float(end - start) * NS - validated
    if span <= 0:
        return missing("the steps took no time that the clock could tell")
    how = f"{samples:g} samples in {span:.6g} s of {table.num_rows} steps, a program's own warm-up steps included"
    return Value(samples / span, how + (f", {validated:.6g} s of validation left out" if validated else ""))


def _validated(data: RunData, start: int, end: int) -> float:
    """Seconds between two moments that the main process spent in its phase ``validate``."""
    phases = main_phases(data)
    if phases is None:
        return 0.0
    begin, until = named(phases, VALIDATE)
    return float(overlap(begin, until, np.array([start]), np.array([end]))[0]) * NS


def total_samples(table: pa.Table) -> float | None:
    """Samples of all steps; None where none says any."""
    samples = floats(table, "samples")
    known = samples[~np.isnan(samples)]
    return float(known.sum()) if known.sum() > 0 else None


def _durations(data: RunData) -> Floats:
    table = step_table(data)
    if table is None:
        return np.empty(0)
    return seconds(times(table, "end_ns") - times(table, "start_ns"))


def _step_percentile(data: RunData, share: float) -> Value:
    durations = _durations(data)
    return percentile(durations, share, f"percentile {share:g} of {len(durations)} steps", no_steps(data))


def step_time_p50(data: RunData) -> Value:
    """Median time of a step."""
    return _step_percentile(data, 50)


def step_time_p90(data: RunData) -> Value:
    """90th percentile of the time of a step."""
    return _step_percentile(data, 90)


def step_time_p99(data: RunData) -> Value:
    """99th percentile of the time of a step."""
    return _step_percentile(data, 99)


def step_time_max(data: RunData) -> Value:
    """Time of the longest step."""
    return _step_percentile(data, 100)


def tail_ratio(data: RunData) -> Value:
    """99th percentile of the time of a step / its median."""
    middle, tail = step_time_p50(data), step_time_p99(data)
    if middle.value is None or tail.value is None:
        return missing(tail.reason or no_steps(data))
    if middle.value <= 0:
        return missing("the median step took no time that the clock could tell")
    return Value(tail.value / middle.value, f"{tail.value:.6g} s / {middle.value:.6g} s")


def data_stall(data: RunData) -> Value:
    """Share of the main process's step time spent in its phase ``load``, waiting for input."""
    table = step_table(data)
    if table is None:
        return missing(no_steps(data))
    phases = main_phases(data)
    if phases is None:
        return missing(no_phases(data))
    own = table.filter(pc.is_in(table["pid"], value_set=pc.unique(phases["pid"].combine_chunks())))
    if not own.num_rows:
        return missing("the steps were recorded by another process than the phases")
    load_start, load_end = named(phases, LOAD)
    if not len(load_start):
        return missing(f"no phase is named {LOAD!r}; mark the wait for input with edgeprof.phase({LOAD!r})")
    start, end = times(own, "start_ns"), times(own, "end_ns")
    total = float((end - start).sum())
    if total <= 0:
        return missing("the steps took no time that the clock could tell")
    stalled = float(overlap(load_start, load_end, start, end).sum())
    return Value(stalled / total, f"{stalled * NS:.6g} s in {LOAD} of {total * NS:.6g} s in {own.num_rows} steps")
