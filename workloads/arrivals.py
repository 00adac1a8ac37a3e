"""Requests that arrive at a fixed rate, as camera frames do, whether the one before was answered or not."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import edgeprof

IDLE = "idle"
"""The phase in which a program waits for the next arrival."""


@dataclass
class Served:
    """What became of the requests.

    Attributes:
        answered: requests with an answer, late ones included.
        late: answers that came after their deadline.
        unanswered: requests that had arrived and were still waiting when the time was over.
        seconds: from the first arrival to the last answer.
        worst: longest time from a request's arrival to its answer, s.
    """

    answered: int = 0
    late: int = 0
    unanswered: int = 0
    seconds: float = 0.0
    worst: float = 0.0


def serve(
    answer: Callable[[int], None],
    rate: float,
    deadline: float = 0.0,
    seconds: float = 0.0,
    requests: int = 0,
    samples: int = 1,
) -> Served:
    """Answer requests in order of their arrival; one that arrives while another is answered waits its turn.

    Each is recorded as a step that begins at its arrival.

    Args:
        answer: called with the request's number; returns when it is answered.
        rate: arrivals a second.
        deadline: seconds from arrival in which an answer must come; 0: before the next arrival.
        seconds: time after which no request is answered any more; 0: not limited.
        requests: number of requests; 0: not limited.
        samples: of a request.
    """
    if not seconds and not requests:
        raise ValueError("requests must be limited, by time or number")
    limit_ns = int((deadline or 1 / rate) * 1e9)
    edgeprof.mark("deadline", limit_ns / 1e9)
    served = Served()
    begin = now = time.monotonic_ns()
    end = begin + int(seconds * 1e9) if seconds else None
    while not requests or served.answered < requests:
        arrival = begin + int(served.answered / rate * 1e9)
        if end is not None and max(arrival, now) >= end:
            break
        if arrival > now:
            with edgeprof.phase(IDLE):
                time.sleep((arrival - now) / 1e9)
        answer(served.answered)
        edgeprof.step(samples=samples, start_ns=arrival)
        now = time.monotonic_ns()
        served.answered += 1
        served.late += now - arrival > limit_ns
        served.worst = max(served.worst, (now - arrival) / 1e9)
    served.seconds = (now - begin) / 1e9
    if end is not None:
        arrived = math.ceil(round((end - begin) / 1e9 * rate, 6))  # the first came at once
        served.unanswered = max(0, min(arrived, requests or arrived) - served.answered)
        edgeprof.mark("unanswered", served.unanswered)
    return served
