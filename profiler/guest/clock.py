"""The guest's CLOCK_MONOTONIC against the host's, with a stated error.

The host asks and the guest answers with its time.  The guest read its clock at some moment between the question
(host time t0) and the answer (t1): taken as their middle, that is wrong by at most half the distance.  Of many
exchanges the quickest counts (as NTP does: RFC 5905, clock filter).  One such measure before the workload and one
after give offset and drift; between them the difference of the clocks is taken as a straight line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

ROUNDS = 40
_SECONDS = 2.0
"""That all rounds may take together."""

Times = TypeVar("Times", int, npt.NDArray[np.int64])


class Exchange(NamedTuple):
    """The quickest of a series, ns: the host's time of its middle, guest - host, and the bound of that one's error."""

    host_ns: int
    offset_ns: int
    error_ns: int


def exchange(ask: Callable[[], int], rounds: int = ROUNDS, clock: Callable[[], int] = time.monotonic_ns) -> Exchange:
    """Compare the clocks; ``ask`` returns the guest's time, ns."""
    best: Exchange | None = None
    begun = clock()
    for _ in range(rounds):
        before = clock()
        guest = ask()
        after = clock()
        middle, error = (before + after) // 2, -(-(after - before) // 2)
        if best is None or error < best.error_ns:
            best = Exchange(middle, guest - middle, error)
        if after - begun > _SECONDS * 1e9:
            break
    assert best is not None
    return best


def clock_facts(before: Exchange, after: Exchange) -> dict[str, Any]:
    """Two measures as `to_host` wants them: ``host_ns``, ``offset_ns`` (guest - host at that time), ``drift`` (change
    of the offset, ns a ns of the host's time) and ``error_ns``, which bounds the error of times between the two.
    """
    apart = after.host_ns - before.host_ns
    return {
        "host_ns": before.host_ns,
        "offset_ns": before.offset_ns,
        "drift": (after.offset_ns - before.offset_ns) / apart if apart > 0 else 0.0,
        "error_ns": max(before.error_ns, after.error_ns),
        "measures": [list(before), list(after)],
    }


def to_host(facts: Mapping[str, Any], guest_ns: Times) -> Times:
    """Times of the guest's CLOCK_MONOTONIC as times of the host's, ns, by `clock_facts`."""
    host, offset, drift = int(facts["host_ns"]), int(facts["offset_ns"]), float(facts["drift"])
    since = guest_ns - (host + offset)  # in the guest's time; small enough for a double
    if isinstance(since, int):
        return host + round(since / (1 + drift))
    return host + np.rint(since / (1 + drift)).astype(np.int64)
