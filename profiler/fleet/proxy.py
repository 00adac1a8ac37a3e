"""What the proxy of a board does at the desk: one run after the other, each a child process that speaks to the board.

These functions are called by Dask workers, in threads.  What they have to tell goes to the matrix as events, not as
results: a result would have to be fetched from a proxy that may be gone by then.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from edgeprof import __version__
from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.board.errors import LOST, RESERVED
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.child import Child, Stops
from edgeprof.profiler.matrix.executor import Began, Event, Said
from edgeprof.profiler.matrix.one_run import Job, OneRun, Over, last_words
from edgeprof.profiler.matrix.state import Ended
from edgeprof.profiler.run import load_manifest
from edgeprof.profiler.units import human

CHECK_SECONDS = 60.0
"""That a board has to show that it is there."""
_POLL = 0.5
_OWN_FAILURES = range(120, 126)

_asked: dict[str, int] = {}
"""How often the run of each number was asked to end."""


class Control:
    """One run as its matrix sees it."""

    def __init__(self, number: str, topic: str) -> None:
        from distributed import get_worker

        self._number, self._topic = number, topic
        self._worker = get_worker()

    @property
    def count(self) -> int:
        """How often the run was asked to end; also once its matrix is gone."""
        task = self._worker.state.tasks.get(self._number)
        gone = task is None or task.state == "cancelled"
        return _asked.get(self._number, 0) + gone

    def began(self, job: Job, pid: int, start_time: int) -> None:
        """A process runs it."""
        self._tell({"event": "began", "key": list(job.key), "pid": pid, "start_time": start_time, "boot": boot_id()})

    def say(self, line: str) -> None:
        """A sentence for the user."""
        self._tell({"event": "said", "line": line})

    def over(self, over: Over) -> None:
        """It has ended."""
        self._tell({"event": "over", **asdict(over), "key": list(over.key), "says": list(over.says)})

    def _tell(self, content: Mapping[str, Any]) -> None:
        self._worker.log_event(self._topic, {"number": self._number, **content})


class Runner(Protocol):
    """Does one run on a board."""

    def __call__(self, job: Job, control: Control) -> Over: ...


@dataclass(frozen=True)
class BoardRunner:
    """Runs ``edgeprof run --board`` as a child process.

    Attributes:
        wait: seconds to wait for a board that somebody else has reserved.
    """

    wait: float

    def __call__(self, job: Job, control: Control) -> Over:
        """Do it; a board that is reserved is waited for, and one that was lost is looked at once."""
        over = self._attempt(job, control)
        if _is_reserved(over) and self.wait > 0 and not control.count:
            control.say(f"{_last_words(over)}; {job.cell} #{job.repeat} waits up to {human(self.wait, 's')}")
            over = self._attempt(self._patient(job), control)
        if _is_reserved(over):
            return _busy(over)
        if not self._is_suspect(over, control):
            return over
        problem = self.problem(job, control)
        if not problem and _was_cut(over, job):
            control.say(f"{job.board} was lost and is there again; the run is begun anew once the board is free")
            over = self._attempt(self._patient(job), control)  # what was cut off may go on there, and hold the board
            if _is_reserved(over):
                return _busy(over)
            problem = self.problem(job, control) if self._is_suspect(over, control) else ""
        return replace(over, end=_open(over.end), lost=problem) if problem else over

    def _patient(self, job: Job) -> Job:
        """The run, waiting for its board: there and asleep, since asking now and then would disturb who has it."""
        words = ("run", f"--board-wait={self.wait:.3f}", *job.words[1:])
        return replace(job, words=words, timeout=job.timeout + self.wait)

    def _attempt(self, job: Job, control: Control) -> Over:
        try:
            run = OneRun(job, _POLL)
        except OSError as error:
            return replace(not_begun(job), lost=f"no process can be started: {error.strerror}")
        control.began(job, run.child.pid, run.child.start_time)
        run.watch(control)
        return run.finish()

    def _is_suspect(self, over: Over, control: Control) -> bool:
        """Whether it may be the board's fault that a run has failed."""
        return not control.count and not over.lost and (over.timed_out or over.code in _OWN_FAILURES)

    def problem(self, job: Job, stops: Stops) -> str:
        """Why a board can run nothing; empty: it can."""
        with tempfile.TemporaryDirectory(prefix="edgeprof-") as folder:
            log = Path(folder, "log")
            command = [sys.executable, "-m", "edgeprof.cli.main", "board", "check", job.board]
            child = Child(command, log, Path(job.folder), job.variables, _POLL)
            if not child.wait(lambda: child.seconds > CHECK_SECONDS or stops.count > 1):
                child.stop(stops, (1.0, 1.0, 5.0))
                child.reap()
                return f"`edgeprof board check {job.board}` did not end within {CHECK_SECONDS:.0f} s"
            code = child.reap()
            return "" if code == 0 else last_words(log) or f"`edgeprof board check {job.board}` failed with {code}"


def perform(number: str, topic: str, job: Job, runner: Runner) -> None:
    """Do a run, and tell the matrix; called as a Dask task whose key is ``number``."""
    control = Control(number, topic)
    try:
        over = not_begun(job) if control.count else runner(job, control)
    finally:
        _asked.pop(number, None)
    control.over(over)


def stop(numbers: list[str]) -> None:
    """Ask runs to end; called on the proxy's event loop."""
    for number in numbers:
        _asked[number] = _asked.get(number, 0) + 1


def look(folder: str, mark: str) -> dict[str, Any]:
    """What a matrix has to know of a proxy before it uses it; called on the proxy's event loop."""
    return {"version": __version__, "sees": os.path.exists(os.path.join(folder, mark))}  # noqa: PTH110, PTH118


def not_begun(job: Job) -> Over:
    """The end of a run that was not even begun."""
    return Over(job.key, job.board, Ended("", None, 0.0, 0, interrupted=True, board=job.board))


def event_of(content: Mapping[str, Any]) -> Event:
    """What `Control` has told, as the matrix takes it.  Raises KeyError, TypeError or ValueError where it is not."""
    if content["event"] == "said":
        return Said(str(content["line"])[:1000])
    cell, repeat = content["key"]
    if content["event"] == "began":
        return Began((str(cell), int(repeat)), int(content["pid"]), int(content["start_time"]), str(content["boot"]))
    fields = {name: content[name] for name in ("board", "code", "timed_out", "lost", "busy")}
    return Over((str(cell), int(repeat)), end=Ended(**content["end"]), says=tuple(content["says"]), **fields)


def _is_reserved(over: Over) -> bool:
    """Whether somebody else has the board; where there is a capture, the code is the workload's own."""
    return over.code == RESERVED and not over.end.run and not over.end.interrupted


def _busy(over: Over) -> Over:
    return replace(over, end=_open(over.end), lost=_last_words(over), busy=True)


def _was_cut(over: Over, job: Job) -> bool:
    """Whether the connection, or the board itself, ended before the run did; a workload may exit with that code too."""
    if over.code != LOST or not over.end.run:
        return over.code == LOST
    try:
        return bool(load_manifest(Path(job.set_aside, over.end.run))["run"].get("status") == "interrupted")
    except EdgeprofError:  # what a run that was cut short leaves may be no more than the beginning of a manifest
        return True


def _last_words(over: Over) -> str:
    return over.end.failed.partition(": ")[2] or over.end.failed


def _open(end: Ended) -> Ended:
    """A run that has to be done again: no fault of its own."""
    return replace(end, failed="", interrupted=True)
