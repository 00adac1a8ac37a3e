"""One run of a cell: the child process, what it leaves, and how it ended; the same on this machine and for a board."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.child import PATIENCE, Child, Stops
from edgeprof.profiler.matrix.folder import bytes_below
from edgeprof.profiler.matrix.keep import keep
from edgeprof.profiler.matrix.state import Ended, Key
from edgeprof.profiler.units import human

_LOG_BYTES = 64 << 10


@dataclass(frozen=True)
class Job:
    """What one run needs; plain values, so that it may be sent to another process.

    Attributes:
        cell, repeat: which run.
        board: that runs it; empty: this machine.
        words: for ``edgeprof``, beginning with ``run``.
        runs, set_aside, log: folder of capture directories, folder of those that do not count, file of last words.
        folder: that the command is called in.
        keep: one of `edgeprof.profiler.matrix.keep.KEEPS`.
        timeout: seconds that it may take.
        patience: see `edgeprof.profiler.matrix.child.PATIENCE`.
        variables: of the environment, besides the caller's.
    """

    cell: str
    repeat: int
    board: str
    words: tuple[str, ...]
    runs: str
    set_aside: str
    log: str
    folder: str
    keep: str
    timeout: float
    patience: tuple[float, float, float] = PATIENCE
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        """Cell and repeat."""
        return self.cell, self.repeat

    @property
    def name(self) -> str:
        """Part of the name of its capture directory."""
        return f"{self.cell}-{self.repeat}"


@dataclass(frozen=True)
class Over:
    """How a run ended.

    Attributes:
        job_key, board: which run.
        end: for the state.
        code: of the child; negative: the signal that killed it.
        timed_out: whether it was ended because it took too long.
        says: sentences for the user.
        lost: why its board can run nothing more; empty: it can.
        busy: whether ``lost`` is for another user, who has the board.
    """

    key: Key
    board: str
    end: Ended
    code: int | None = None
    timed_out: bool = False
    says: tuple[str, ...] = ()
    lost: str = ""
    busy: bool = False


class OneRun:
    """A run that has been started.  Raises OSError where it cannot be."""

    def __init__(self, job: Job, poll: float = 0.05) -> None:
        self.job = job
        self._log = Path(job.log)
        self.child = Child(
            [sys.executable, "-m", "edgeprof.cli.main", *job.words], self._log, Path(job.folder), job.variables, poll
        )
        self._timed_out = self._interrupted = False
        self._says: list[str] = []

    def watch(self, stops: Stops, tick: Callable[[float], None] = lambda seconds: None) -> None:
        """Wait for its end; end it when it is asked for, or takes too long."""

        def over() -> bool:
            tick(self.child.seconds)
            self._timed_out, self._interrupted = self.child.seconds > self.job.timeout, stops.count > 0
            return self._timed_out or self._interrupted

        if not self.child.wait(over):
            self.child.stop(stops, self.job.patience)

    def finish(self) -> Over:
        """Keep what is to be kept of what it left, and say how it ended."""
        seconds, code = self.child.seconds, self.child.reap()
        run = find_capture(self.job)
        failed = ""
        if self._timed_out:
            failed = f"it took longer than {human(self.job.timeout, 's')}"
        elif not self._interrupted:
            failed = _failure(code, self._log) or self._keep(run)
        good = not failed and not self._interrupted
        size = bytes_below(Path(self.job.runs, run)) if run and good else 0
        if run and not good:
            set_aside(self.job, run)
        _shorten(self._log, keep_it=bool(failed))
        end = Ended(run, code if code >= 0 else None, seconds, size, failed, self._interrupted, self.job.board)
        return Over(self.job.key, self.job.board, end, code, self._timed_out, tuple(self._says))

    def _keep(self, run: str) -> str:
        """Drop what is not to be kept; returns why the run has no figures after all."""
        path = Path(self.job.runs, run)
        if not run or not (path / "metrics.parquet").is_file():
            return "it ended well, but left no metrics"
        try:
            keep(path, self.job.keep)
        except (OSError, EdgeprofError) as error:
            self._says.append(f"could not drop what is not kept of {path}: {error}")
        return ""


def find_capture(job: Job) -> str:
    """The name of the capture directory that a job has made last; empty where there is none."""
    with os.scandir(job.runs) as entries:
        found = [entry.name for entry in entries if f"-{job.name}-" in entry.name and entry.is_dir()]
    return max((name for name in found if not name.startswith(".")), default="")  # they begin with the time


def set_aside(job: Job, run: str) -> None:
    """Move a capture to those that do not count."""
    Path(job.set_aside).mkdir(exist_ok=True)
    Path(job.runs, run).rename(Path(job.set_aside, run))


def last_words(log: Path) -> str:
    """The last line of a log; empty where there is none."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    return lines[-1].removeprefix("edgeprof: ")[:300] if lines else ""


def _failure(code: int, log: Path) -> str:
    """Why a run failed, from its code and its last words; empty where it did not."""
    if code == 0:
        return ""
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}: {last_words(log) or 'it said nothing'}"


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_BYTES))
        return file.read().decode("utf-8", "replace")


def _shorten(log: Path, keep_it: bool) -> None:
    """Keep the last words of a run that failed, and nothing of one that did not."""
    if not keep_it:
        log.unlink(missing_ok=True)
    elif log.stat().st_size > _LOG_BYTES:
        log.write_text(_tail(log), "utf-8")
