"""Samples of a data set in their stored order, made by a few low-priority processes."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from edgeprof.workloads.data.sample import Sample
from edgeprof.workloads.data.spec import DataSpec

if TYPE_CHECKING:
    from concurrent.futures import Future

CHUNKS = {"images": 16, "steering": 64, "detection": 8, "segmentation": 8, "trajectories": 1024, "text": 256}
"""Samples that are made at once, by kind.  A part of the definition of trajectories and text: each chunk is one
stream of random numbers."""

ALONE_BELOW = 8 << 20
"""Bytes; a data set smaller than this is made before other processes would have started."""
MOST_PROCESSES = 8
NICE = 10


def make_chunk(kind: str, side: int, seed: int, number: int) -> list[Sample]:
    """Chunk ``number`` of a data set: a function of its arguments alone."""
    size = CHUNKS[kind]
    if kind == "trajectories":
        from edgeprof.workloads.data.tracks import make_tracks

        return [{"track": track} for track in make_tracks(seed, number, size)]
    if kind == "text":
        from edgeprof.workloads.data.prose import make_texts

        return make_texts(seed, number, size)
    from edgeprof.workloads.data.frames import make_frame

    return [make_frame(kind, side, seed, index) for index in range(number * size, (number + 1) * size)]


def samples(spec: DataSpec) -> Iterator[Sample]:
    """Samples without end; the caller stops when it has enough (closing the iterator ends the processes)."""
    processes = min(len(os.sched_getaffinity(0)), MOST_PROCESSES)
    if spec.bytes < ALONE_BELOW or processes < 2:
        for number in count():
            yield from make_chunk(spec.kind, spec.side, spec.seed, number)
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # Spawned, not forked: the caller may have threads of a framework.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _behave, (os.getpid(),))
    try:
        waiting: deque[Future[list[Sample]]] = deque()
        for number in count():
            waiting.append(pool.submit(make_chunk, spec.kind, spec.side, spec.seed, number))
            if len(waiting) > 2 * processes:
                yield from waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _behave(parent: int) -> None:
    """In each process: let the machine's other work go first, leave Ctrl-C to the parent, and end when it ends."""
    import ctypes

    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_parent_death_signal = 1  # PR_SET_PDEATHSIG of prctl(2)
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
