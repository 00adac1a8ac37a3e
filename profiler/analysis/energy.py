"""Metrics of energy and heat: joules of the board, joules a sample, time throttled."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from edgeprof.collectors.power.rails import Amount, chosen_rails
from edgeprof.profiler.analysis.data import NS, RunData, Value, floats, has_column, missing, seconds, texts, times
from edgeprof.profiler.analysis.steps import no_steps, step_table, total_samples
from edgeprof.profiler.analysis.timeline import merge

NOT_THROTTLING = re.compile(r"fan|lcd|backlight|tcc.?offset|charg", re.IGNORECASE)
"""Cooling devices (thermal_zone sysfs) that cool or save power without slowing a processor."""


def rails(data: RunData) -> list[Amount]:
    """Energy of each rail: from its energy counter, else the integral of its power (trapezoids)."""
    table = data.table("power")
    if table is None:
        return []
    pairs = zip(texts(table, "source"), texts(table, "rail"), strict=True)
    names = np.array([f"{source}\0{rail}" for source, rail in pairs])
    found = []
    for key in dict.fromkeys(names.tolist()):
        rows = table.filter(pa.array(names == key))
        measured = _joules(rows, data.start_ns, data.end_ns)
        if measured is not None:
            source, name = key.split("\0", 1)
            found.append(Amount(source, name, any(rows["total"].to_pylist()), *measured))
    return found


def _joules(rows: pa.Table, start_ns: int | None, end_ns: int | None) -> tuple[float, float] | None:
    at = times(rows)
    order = np.argsort(at, kind="stable")
    counter = has_column(rows, "energy")
    values = floats(rows, "energy" if counter else "power")[order]
    known = ~np.isnan(values)
    if known.sum() < 2:
        return None
    origin, at, values = int(at.min()), at[order][known], values[known]
    elapsed = seconds(at - origin)
    first, last = float(elapsed[0]), float(elapsed[-1])
    begin = first if start_ns is None else min(max((start_ns - origin) * NS, first), last)
    finish = last if end_ns is None else min(max((end_ns - origin) * NS, first), last)
    if finish <= begin:
        return None
    if counter:
        used = np.interp(finish, elapsed, values) - np.interp(begin, elapsed, values)
        return float(used), finish - begin
    inside = (elapsed > begin) & (elapsed < finish)
    grid = np.concatenate([[begin], elapsed[inside], [finish]])
    power = np.interp(grid, elapsed, values)
    return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(grid))), finish - begin


def energy(data: RunData) -> Value:
    """Energy that the board used between the run's start and end, on the most complete rails there are."""
    if data.table("power") is None:
        return missing(data.why_absent("power"))
    chosen = chosen_rails(rails(data))
    if not chosen:
        return missing("no power rail was read at least twice during the run")
    names = ", ".join(rail.name for rail in chosen)
    how = f"{'rail' if len(chosen) == 1 else 'sum of rails'} {names} ({chosen[0].source})"
    covered = min(rail.seconds for rail in chosen)
    if data.seconds and covered < 0.95 * data.seconds:
        how += f", read over {covered:.3g} s of {data.seconds:.3g} s"
    return Value(sum(rail.joules for rail in chosen), how)


def energy_per_sample(data: RunData) -> Value:
    """Energy of the whole run / samples of all steps; start-up and evaluation included."""
    used = energy(data)
    if used.value is None:
        return used
    table = step_table(data)
    if table is None:
        return missing(no_steps(data))
    samples = total_samples(table)
    if samples is None:
        return missing("the steps do not say how many samples they had; call edgeprof.step(samples=...)")
    return Value(used.value / samples, f"{used.how}; {samples:g} samples")


def idle_power(data: RunData) -> Value:
    """Mean power of the idle machine, measured before the run on the rails of ``energy``."""
    part = data.manifest.get("idle_power")
    if not isinstance(part, Mapping):
        return missing("the idle machine was not measured; `edgeprof run --idle` does that first")
    found = [Amount(**{name: item[name] for name in Amount._fields}) for item in part.get("rails") or ()]
    found = [rail for rail in found if rail.seconds > 0]
    if not found:
        return missing(str(part.get("reason") or "the idle machine's rails are not known until `edgeprof ingest`"))
    wanted = {(rail.source, rail.name) for rail in chosen_rails(rails(data))}
    chosen = [rail for rail in found if (rail.source, rail.name) in wanted] if wanted else chosen_rails(found)
    lacking = sorted(name for _, name in wanted - {(rail.source, rail.name) for rail in chosen})
    if lacking:
        return missing(f"the run's energy is that of {', '.join(lacking)}, which was not read while idle")
    names = ", ".join(rail.name for rail in chosen)
    how = f"{'rail' if len(chosen) == 1 else 'sum of rails'} {names} ({chosen[0].source})"
    return Value(
        sum(rail.joules / rail.seconds for rail in chosen),
        f"{how}, over {min(rail.seconds for rail in chosen):.3g} s before the run",
    )


def energy_net(data: RunData) -> Value:
    """Energy of the run less what the idle machine would have used in the same time."""
    gross, idle = energy(data), idle_power(data)
    for each in (gross, idle):
        if each.value is None:
            return each
    assert gross.value is not None and idle.value is not None
    seconds_read = min(rail.seconds for rail in chosen_rails(rails(data)))
    how = f"{gross.how}; less {idle.value:.4g} W of the idle machine for {seconds_read:.4g} s"
    return Value(gross.value - idle.value * seconds_read, how)


def throttled_time(data: RunData) -> Value:
    """Time in which at least one cooling device that slows a processor was active (cur_state above 0)."""
    table = data.table("thermal")
    if table is None:
        return missing(data.why_absent("thermal"))
    zones = np.array([zone or "" for zone in texts(table, "zone")], dtype=object)
    states, at = floats(table, "throttling"), times(table)
    slows = np.array([not NOT_THROTTLING.search(zone) for zone in zones]) & ~np.isnan(states)
    if not slows.any():
        return missing("this machine shows no cooling device that slows a processor")
    start, end = [], []
    for zone in set(zones[slows].tolist()):
        chosen = np.flatnonzero(slows & (zones == zone))
        chosen = chosen[np.argsort(at[chosen], kind="stable")]
        active = states[chosen][:-1] > 0
        start.append(at[chosen][:-1][active])
        end.append(at[chosen][1:][active])
    begins, ends = merge(np.concatenate(start), np.concatenate(end))
    return Value(float((ends - begins).sum()) * NS, "union over cooling devices; a state holds until the next sample")
