"""Metrics of programs that answer requests: the time to the first answer, and deadlines missed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from edgeprof.profiler.analysis.data import NS, Ints, RunData, Value, equals, floats, missing, times
from edgeprof.profiler.analysis.steps import no_steps, step_table
from edgeprof.profiler.analysis.timeline import main_phases, named, no_phases
from edgeprof.profiler.units import counted

FIRST = "first-inference"
"""The phase that ends with a model's first answer; it holds import, load and compilation."""
STARTUP = "startup"
"""The phase that begins with the process."""
DEADLINE, UNANSWERED = "deadline", "unanswered"
"""Marks: seconds from a request's arrival in which it must be answered; requests left when the time was over."""


def first_inference_time(data: RunData) -> Value:
    """Time from the start of the main process to the end of its phase ``first-inference``."""
    phases = main_phases(data)
    if phases is None:
        return missing(no_phases(data))
    _, ends = named(phases, FIRST)
    if not len(ends):
        return missing(f"no phase is named {FIRST!r}; mark all that comes before the first answer with it")
    begins, _ = named(phases, STARTUP)
    if len(begins):
        start, since = int(begins.min()), f"phase {STARTUP}"
    elif data.start_ns is not None:
        start, since = data.start_ns, "the workload's exec"
    else:
        return missing("the run's start is not known")
    return Value((int(ends.min()) - start) * NS, f"end of the phase {FIRST} minus start of {since}")


def deadline_misses(data: RunData) -> Value:
    """Requests that were answered after their deadline, or left unanswered when the program's time was over."""
    found = _requests(data)
    if isinstance(found, str):
        return missing(found)
    late, unanswered, answered = found
    return Value(float(late + unanswered), f"{late} late of {answered} answered, {unanswered} not answered")


def deadline_miss_share(data: RunData) -> Value:
    """`deadline_misses` / requests that had a deadline."""
    found = _requests(data)
    if isinstance(found, str):
        return missing(found)
    late, unanswered, answered = found
    total = answered + unanswered
    return Value((late + unanswered) / total, f"{late + unanswered} of {counted(total, 'request')}")


def _requests(data: RunData) -> tuple[int, int, int] | str:
    """How many were late, unanswered and answered, of all processes with a deadline; or why that is not known."""
    steps, marks = step_table(data), data.table("marks")
    deadlines = _latest(marks, DEADLINE)
    if not deadlines:
        return "no process has stated a deadline; do so with edgeprof.mark('deadline', seconds)"
    late = answered = 0
    if steps is not None:
        took, pids = times(steps, "end_ns") - times(steps, "start_ns"), times(steps, "pid")
        for pid, deadline in deadlines.items():
            own: Ints = took[pids == pid]
            answered += len(own)
            late += int((own > round(deadline / NS)).sum())
    left = _latest(marks, UNANSWERED)
    unanswered = int(sum(left.get(pid, 0.0) for pid in deadlines))
    return (late, unanswered, answered) if answered + unanswered else no_steps(data)


def _latest(marks: pa.Table | None, name: str) -> dict[int, float]:
    """The last value above 0 that each process gave to a mark."""
    if marks is None:
        return {}
    chosen = marks.filter(pa.array(equals(marks, "name", name)))
    values = floats(chosen, "value")
    pids = times(chosen, "pid")
    good = np.flatnonzero(values > 0)
    return {int(pids[index]): float(values[index]) for index in good}
