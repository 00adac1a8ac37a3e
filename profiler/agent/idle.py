"""Measures the power of the idle machine before a run, with the same sensors as the run's own energy."""

import os
import time
from typing import Any, Callable, Dict, Optional

from edgeprof.collectors.base import Context, Journal, Roots
from edgeprof.profiler.agent.drive import Driven, make

FOLDER = "idle"
"""Below ``raw``; the frames lie in its folder ``power``, as those of the run do in ``raw``."""


def measure(
    seconds: float,
    raw: str,
    pause: Callable[[float], None],
    rate: float = 10.0,
    roots: Roots = Roots(),
    options: Optional[Dict[str, Any]] = None,
    journal: Optional[Journal] = None,
) -> Dict[str, Any]:
    """Sample the power collector's rails for ``seconds`` while nothing runs.

    Args:
        raw: the capture's ``raw`` folder.
        pause: sleeps; what it raises ends the measurement.
        options: those of the power collector.

    Returns:
        For the manifest: ``asked`` (s), ``start_ns`` and ``end_ns`` (CLOCK_MONOTONIC), ``available`` and the
        ``reason`` why not.
    """
    folder = os.path.join(raw, FOLDER, "power")
    os.makedirs(folder, exist_ok=True)
    driven = Driven(make("power", Context(raw=folder, roots=roots, rate=rate, options=options, journal=journal)))
    began = time.monotonic_ns()
    try:
        if driven.probe():
            driven.start()
        began = time.monotonic_ns()
        due, end = began, began + int(seconds * 1e9)
        while driven.active and time.monotonic_ns() < end:
            now = time.monotonic_ns()
            driven.sample(now)
            due = max(due + int(1e9 / rate), now)
            pause(max(0, min(due, end) - time.monotonic_ns()) / 1e9)
        driven.last(time.monotonic_ns())
    finally:
        ended = time.monotonic_ns()
        driven.stop()
    report = driven.report()
    return {
        "asked": seconds,
        "start_ns": began,
        "end_ns": ended,
        "available": report["available"],
        "reason": "" if report["available"] else report["reason"] or "; ".join(report["notes"]),
    }
