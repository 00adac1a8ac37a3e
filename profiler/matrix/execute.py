"""Runs a matrix: whole processes, interleaved in random order; whatever interrupts it, the next call goes on."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgeprof.profiler.agent.journal import state_folder
from edgeprof.profiler.agent.undo import clean
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.child import PATIENCE, Child, Interrupts, end_survivor
from edgeprof.profiler.matrix.errors import NoMatrix, WrongMatrix
from edgeprof.profiler.matrix.estimate import Estimate, Estimator
from edgeprof.profiler.matrix.folder import MatrixFolder, bytes_below
from edgeprof.profiler.matrix.keep import keep
from edgeprof.profiler.matrix.plan import Cell, Plan
from edgeprof.profiler.matrix.state import (
    Ended,
    Key,
    Progress,
    StateFile,
    levels_match,
    plan_record,
    read_state,
    same_plan,
)
from edgeprof.profiler.units import human

LEAST_FREE = 256 << 20
"""Bytes that must be free where the folder lies, besides what a run is expected to keep, or no run is begun."""
_WORKING_SPACE = 3
"""A run's raw files and tables lie side by side before some are dropped: this many times what it keeps."""
_LOG_BYTES = 64 << 10


class Watch(Protocol):
    """Told what happens."""

    def say(self, line: str) -> None:
        """A sentence for the user."""

    def begin(self, cell: Cell, repeat: int, done: int, total: int, left: float) -> None:
        """A run begins: ``done`` of ``total`` are behind, ``left`` seconds are expected."""

    def tick(self, seconds: float) -> None:
        """It goes on, for so long now."""

    def end(self, cell: Cell, repeat: int, end: Ended) -> None:
        """It has ended."""


@dataclass(frozen=True)
class How:
    """What a call asks for.

    Attributes:
        keep: one of `edgeprof.profiler.matrix.keep.KEEPS`.
        retry_failed: whether failed runs are run again.
        only: levels by axis; other cells wait for another call.
        max_time: seconds that this call may take; None: no limit.
        patience: see `edgeprof.profiler.matrix.child.PATIENCE`.
    """

    keep: str = "tables"
    retry_failed: bool = False
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    max_time: float | None = None
    patience: tuple[float, float, float] = PATIENCE


@dataclass(frozen=True)
class Result:
    """What a call came to: runs that ended well, that failed, that are left; why it stopped before its end."""

    done: int
    failed: int
    left: int
    stopped: str = ""
    interrupted: bool = False


def run_matrix(plan: Plan, folder: MatrixFolder, how: How, watch: Watch) -> Result:
    """Run what is left of a matrix.

    Raises:
        MatrixBusy: another process does.
        WrongMatrix: the folder is another matrix's.
        EdgeprofError: the folder cannot be written.
    """
    folder.make()
    with folder.locked():
        progress = _progress(folder)
        if progress.plan and progress.plan["name"] != plan.spec.name:
            raise WrongMatrix(
                f"{folder.path} holds the matrix {progress.plan['name']!r}, not {plan.spec.name!r};"
                " name another folder with --output"
            )
        state = StateFile(folder.path)
        try:
            record = plan_record(plan)
            if not same_plan(progress.plan, record):
                state.plan(record)
                progress.plan = record
            return _Execution(plan, folder, how, watch, state, progress).run()
        finally:
            state.close()


def _progress(folder: MatrixFolder) -> Progress:
    try:
        return read_state(folder.path)
    except NoMatrix:
        return Progress()


class _Execution:
    """One call of `run_matrix`."""

    def __init__(
        self, plan: Plan, folder: MatrixFolder, how: How, watch: Watch, state: StateFile, progress: Progress
    ) -> None:
        self.plan, self.folder, self.how, self.watch = plan, folder, how, watch
        self.state, self.progress = state, progress
        self.estimator = Estimator(plan.options(), progress)
        self.began = time.monotonic()

    def run(self) -> Result:
        with Interrupts() as interrupts:
            if self.plan.left_out:
                count = len(self.plan.left_out)
                self.watch.say(f"{count} cells are left out; `edgeprof matrix plan {self.plan.spec.path}` says why")
            self._recover()
            queue = deque(self._pending())
            total, done, failed = len(queue), 0, 0
            while queue:
                repeat, cell = queue[0]
                if interrupts.count:
                    return Result(done, failed, len(queue), "it was interrupted", True)
                estimates = self.estimator.all()
                reason = self._may_not(estimates[cell.id])
                if reason:
                    return Result(done, failed, len(queue), reason)
                left = sum(estimates[each.id].seconds for _, each in queue)
                self.watch.begin(cell, repeat, done + failed, total, left)
                end = self._run_one(cell, repeat, interrupts)
                self.watch.end(cell, repeat, end)
                if end.interrupted:
                    return Result(done, failed, len(queue), "it was interrupted", True)
                queue.popleft()
                failed += bool(end.failed)
                done += not end.failed
        return Result(done, failed, 0)

    def _pending(self) -> list[tuple[int, Cell]]:
        return [
            (repeat, cell)
            for repeat, cell in self.plan.order()
            if levels_match(cell.levels, self.how.only) and self._is_due((cell.id, repeat))
        ]

    def _is_due(self, key: Key) -> bool:
        end = self.progress.ended.get(key)
        return end is None or key in self.progress.open or (bool(end.failed) and self.how.retry_failed)

    def _recover(self) -> None:
        """End and clean up what a killed matrix left, and set its captures aside."""
        for process in self.progress.open.values():
            pid, started = process.get("pid"), process.get("start_time")
            if pid and started and end_survivor(pid, started, self.how.patience):
                self.watch.say(f"ended process {pid}, which a matrix that was killed had left")
        self._clean()
        for path in self.folder.captures() - {end.run for end in self.progress.ended.values()}:
            self._set_aside(path)
            self.watch.say(f"set aside the capture of an interrupted run: {path}")

    def _clean(self) -> None:
        """Undo what interrupted runs have left; workloads of this matrix's own are ended, others' go on."""
        try:
            results = [clean(state_folder(), kill=True, below=str(self.folder.runs)), clean(state_folder())]
        except OSError as error:
            raise EdgeprofError(f"cannot read the undo journals: {error.strerror} ({error.filename})") from None
        for result in results:
            for sentence in (*result.undone, *result.failed):
                self.watch.say(f"left by an interrupted run: {sentence}")

    def _may_not(self, estimate: Estimate) -> str:
        """Why the next run must not be begun; empty: it may."""
        spec = self.plan.spec
        known = estimate.seconds if estimate.source == "measured" else 0.0
        for limit, spent, what in (
            (spec.time, self.progress.seconds, "budget of the matrix"),
            (self.how.max_time, time.monotonic() - self.began, "--max-time"),
        ):
            if limit is not None and spent + known >= limit:
                return f"the next run would exceed the {what} of {human(limit, 's')} ({human(spent, 's')} are used)"
        if spec.bytes is not None:
            size = self.folder.bytes()
            if size + estimate.bytes > spec.bytes:
                return f"the next run would exceed the budget of {human(spec.bytes, 'bytes')} on disk"
        space = os.statvfs(self.folder.path)
        free = space.f_bavail * space.f_frsize
        if free < LEAST_FREE + _WORKING_SPACE * estimate.bytes:
            return f"only {human(free, 'bytes')} are free where {self.folder.path} lies; free some"
        return ""

    def _run_one(self, cell: Cell, repeat: int, interrupts: Interrupts) -> Ended:
        key = cell.id, repeat
        log = self.folder.logs / f"{cell.id}-{repeat}.log"
        before = self.folder.captures()
        self.state.started(key)
        child = Child(self._command(cell, repeat), log)
        self.state.process(key, child.pid, child.start_time)
        timeout = self.plan.spec.timeout
        timed_out = interrupted = False

        def over() -> bool:
            nonlocal timed_out, interrupted
            self.watch.tick(child.seconds)
            timed_out, interrupted = child.seconds > timeout, interrupts.count > 0
            return timed_out or interrupted

        if not child.wait(over):
            self.watch.say("ending the run, and putting back what it changed")
            child.stop(interrupts, self.how.patience)
        code = child.reap()
        if code < 0:
            self._clean()
        run = next(iter(self.folder.captures() - before), "")
        failed = (
            f"it took longer than {human(timeout, 's')}" if timed_out else "" if interrupted else _failure(code, log)
        )
        if not failed and not interrupted:
            failed = self._keep(run)
        if interrupted or failed:
            self._set_aside(run)
        size = bytes_below(self.folder.runs / run) if run and not failed and not interrupted else 0
        end = Ended(run, code if code >= 0 else None, child.seconds, size, failed, interrupted)
        self.state.ended(key, end)
        self.progress.take(key, end)
        _shorten(log, keep_it=bool(failed))
        return end

    def _command(self, cell: Cell, repeat: int) -> list[str]:
        factors = {"matrix.name": self.plan.spec.name, "matrix.cell": cell.id, "matrix.repeat": str(repeat)}
        return [
            *(sys.executable, "-m", "edgeprof.cli.main", "run", "--quiet"),
            *("--output", str(self.folder.runs.resolve()), "--name", f"{cell.id}-{repeat}"),
            *(f"--factor={name}={value}" for name, value in factors.items()),
            "--report" if self.how.keep == "metrics" else "--no-report",
            *cell.words,
        ]

    def _keep(self, run: str) -> str:
        """Drop what is not to be kept; returns why the run has no figures after all."""
        path = self.folder.runs / run
        if not run or not (path / "metrics.parquet").is_file():
            return "it ended well, but left no metrics"
        try:
            keep(path, self.how.keep)
        except (OSError, EdgeprofError) as error:
            self.watch.say(f"could not drop what is not kept of {path}: {error}")
        return ""

    def _set_aside(self, run: str) -> None:
        if not run:
            return
        self.folder.set_aside.mkdir(exist_ok=True)
        (self.folder.runs / run).rename(self.folder.set_aside / run)


def _failure(code: int, log: Path) -> str:
    """Why a run failed, from its code and its last words; empty where it did not."""
    if code == 0:
        return ""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    last = lines[-1].removeprefix("edgeprof: ")[:300] if lines else "it said nothing"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}: {last}"


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
