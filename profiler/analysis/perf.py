"""Sums of what perf counted (table ``counters``)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from edgeprof.profiler.analysis.data import RunData, Value, floats, missing, texts
from edgeprof.profiler.units import counted


def event_total(data: RunData, event: str) -> Value:
    """Sum over all intervals of one event; its modifier (``:u``) is ignored."""
    table = data.table("counters")
    if table is None:
        return missing(data.why_absent("counters"))
    names = texts(table, "event")
    rows = pa.array([name is not None and name.split(":")[0] == event for name in names])
    chosen = table.filter(rows)
    if not chosen.num_rows:
        return missing(f"perf did not count {event}")
    values = floats(chosen, "value")
    if np.isnan(values).all():
        reasons = [reason for reason in texts(chosen, "reason") if reason]
        return missing(f"perf could not count {event}: {reasons[0] if reasons else 'it gave no reason'}")
    how = f"perf's {event} over {counted(len(values), 'interval')}"
    running = floats(chosen, "running")
    if not np.isnan(running).all() and np.nanmin(running) < 1:
        how += f", counted {np.nanmean(running):.0%} of the time and scaled"
    return Value(float(np.nansum(values)), how)
