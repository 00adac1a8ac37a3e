"""Where runs are done: what a matrix asks of the machine, or the boards, that do them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeprof.profiler.matrix.child import Stops
from edgeprof.profiler.matrix.one_run import Job, OneRun, Over
from edgeprof.profiler.matrix.placement import HERE, Board
from edgeprof.profiler.matrix.state import Key


@dataclass(frozen=True)
class Began:
    """A run has become a process; ``boot`` is the boot id of its machine where that may be another."""

    key: Key
    pid: int
    start_time: int
    boot: str | None = None


@dataclass(frozen=True)
class Said:
    """A sentence for the user."""

    line: str


@dataclass(frozen=True)
class Gone:
    """A board can run nothing more, and what ran on it tells nothing."""

    board: str
    why: str


Event = Began | Over | Said | Gone


class Executor(Protocol):
    """Does runs, one at a time on each board."""

    boards: Sequence[Board]

    def begin(self, jobs: Sequence[Job]) -> None:
        """Start runs, each on the board that it names."""

    def wait(self, stops: Stops, tick: Callable[[], None]) -> Sequence[Event]:
        """What has happened since the last call; waits for something, calling ``tick`` now and then.

        Once ``stops`` counts anything, all runs are asked to end, more urgently with each that it counts more.
        """


class Here:
    """This machine: runs are done by this very thread."""

    boards: Sequence[Board] = (HERE,)

    def __init__(self) -> None:
        self._run: OneRun | None = None
        self._told = False

    def begin(self, jobs: Sequence[Job]) -> None:
        (job,) = jobs
        self._run, self._told = OneRun(job), False

    def wait(self, stops: Stops, tick: Callable[[], None]) -> Sequence[Event]:
        assert self._run is not None
        if not self._told:
            self._told = True
            return [Began(self._run.job.key, self._run.child.pid, self._run.child.start_time)]
        self._run.watch(stops, lambda seconds: tick())
        over, self._run = self._run.finish(), None
        return [over]
