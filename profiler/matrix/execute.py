"""Runs a matrix: whole processes, interleaved in random order; whatever interrupts it, the next call goes on."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edgeprof.profiler.agent.undo import clean_all
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.child import PATIENCE, Interrupts, end_survivor
from edgeprof.profiler.matrix.errors import NoMatrix, WrongMatrix
from edgeprof.profiler.matrix.estimate import Estimate, Estimator
from edgeprof.profiler.matrix.executor import Began, Event, Executor, Gone, Here, Said
from edgeprof.profiler.matrix.folder import MatrixFolder
from edgeprof.profiler.matrix.one_run import Job, Over
from edgeprof.profiler.matrix.placement import BOARD, Placement, unserved
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
_RECKONED = 0.5
"""Seconds for which the estimate of what is left holds: summing 10,000 cells after each run would be work, too."""
_WALKED = 30.0
"""Seconds for which the folder's size is added up from its runs before it is measured anew."""


class Watch(Protocol):
    """Told what happens."""

    def say(self, line: str) -> None:
        """A sentence for the user."""

    def begin(self, cell: Cell, repeat: int, board: str, done: int, total: int, left: float) -> None:
        """A run begins: ``done`` of ``total`` have ended, ``left`` seconds are expected; ``board`` may be empty."""

    def tick(self) -> None:
        """Time goes by."""

    def end(self, cell: Cell, repeat: int, end: Ended) -> None:
        """A run has ended."""


@dataclass(frozen=True)
class How:
    """What a call asks for.

    Attributes:
        keep: one of `edgeprof.profiler.matrix.keep.KEEPS`.
        retry_failed: whether failed runs are run again.
        only: levels by axis; other cells wait for another call.
        max_time: seconds that this call may take; None: no limit.
        patience: see `edgeprof.profiler.matrix.child.PATIENCE`.
        retries: how often a cell whose board is lost may begin anew on an equal one.
        variables: of the environment of each run, besides this process's.
    """

    keep: str = "tables"
    retry_failed: bool = False
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)
    max_time: float | None = None
    patience: tuple[float, float, float] = PATIENCE
    retries: int = 0
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a call came to: runs that ended well, that failed, that are left; why it stopped before its end.

    ``lost`` holds the boards that were set aside, with the reasons.
    """

    done: int
    failed: int
    left: int
    stopped: str = ""
    interrupted: bool = False
    lost: Mapping[str, str] = field(default_factory=dict)


def run_matrix(plan: Plan, folder: MatrixFolder, how: How, watch: Watch, executor: Executor | None = None) -> Result:
    """Run what is left of a matrix; on this machine where no ``executor`` is given.

    Raises:
        MatrixBusy: another process does.
        WrongMatrix: the folder is another matrix's, or no board can run any of its cells.
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
            return _Execution(plan, folder, how, watch, state, progress, executor or Here()).run()
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
        self,
        plan: Plan,
        folder: MatrixFolder,
        how: How,
        watch: Watch,
        state: StateFile,
        progress: Progress,
        executor: Executor,
    ) -> None:
        self.plan, self.folder, self.how, self.watch = plan, folder, how, watch
        self.state, self.progress, self.executor = state, progress, executor
        self.estimator = Estimator(plan.options(), progress)
        self.cells = {cell.id: cell for cell in plan.cells}
        self.began = time.monotonic()
        self.placement = Placement(
            plan.order(), self._due(), executor.boards, progress.pins(), progress.moves, how.retries
        )
        self.free = {board.name: None for board in executor.boards}
        self.running: dict[Key, tuple[str, float]] = {}
        self.ended: dict[Key, bool] = {}
        self.lost: dict[str, str] = {}
        self.reason = ""
        self.rest = _Reckoned()
        self.size = _Reckoned()

    def run(self) -> Result:
        with Interrupts() as interrupts:
            if self.plan.left_out:
                count = len(self.plan.left_out)
                self.watch.say(f"{count} cells are left out; `edgeprof matrix plan {self.plan.spec.path}` says why")
            self._recover()
            self._place()
            asked = False

            def tick() -> None:
                nonlocal asked
                if interrupts.count and not asked:
                    asked = True
                    self.watch.say(f"ending {self._what_runs()}, and putting back what was changed")
                self.watch.tick()

            while True:
                if not interrupts.count and not self.reason:
                    self._begin()
                if not self.running:
                    break
                happened = self.executor.wait(interrupts, tick)
                with self.state.together():
                    for event in happened:
                        self._take(event)
        failed = sum(self.ended.values())
        left = self.placement.left
        stopped = "it was interrupted" if interrupts.count and left else self.reason
        if left and not stopped:
            aside = f" ({', '.join(self.lost)} set aside)" if self.lost else ""
            stopped = f"no board is there for the rest{aside}"
        interrupted = bool(interrupts.count and left)
        return Result(len(self.ended) - failed, failed, left, stopped, interrupted, dict(self.lost))

    def _what_runs(self) -> str:
        return "the run" if len(self.running) == 1 else f"{len(self.running)} runs"

    def _due(self) -> list[Key]:
        return [
            (cell.id, repeat)
            for cell in self.plan.cells
            if levels_match(cell.levels, self.how.only)
            for repeat in range(1, self.plan.spec.repeats + 1)
            if self._is_due((cell.id, repeat))
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
        for partial in self.folder.runs.glob(".fetching-*"):  # the board has the whole, or it is of a run to be redone
            shutil.rmtree(partial, ignore_errors=True)
        for path in self.folder.captures() - {end.run for end in self.progress.ended.values()}:
            self._set_aside(path)
            self.watch.say(f"set aside the capture of an interrupted run: {path}")

    def _clean(self) -> None:
        """Undo what interrupted runs have left; workloads of this matrix's own are ended, others' go on."""
        try:
            results = [clean_all(kill=True, below=str(self.folder.runs)), clean_all()]
        except OSError as error:
            raise EdgeprofError(f"cannot read the undo journals: {error.strerror} ({error.filename})") from None
        for result in results:
            for sentence in (*result.undone, *result.failed):
                self.watch.say(f"left by an interrupted run: {sentence}")

    def _place(self) -> None:
        """Say at once what no board can run; cells whose board is not there move on where they may.

        Raises:
            WrongMatrix: no board can run any of what is left.
        """
        reasons = unserved((cell for cell in self.plan.cells if self.placement.left_of(cell.id)), self.placement.boards)
        if self.placement.left and sum(map(self.placement.left_of, reasons)) == self.placement.left:
            raise WrongMatrix(f"none of the boards can run what is left: {next(iter(reasons.values()))}")
        for reason in dict.fromkeys(reasons.values()):
            count = sum(self.placement.left_of(cell) for cell, why in reasons.items() if why == reason)
            self.watch.say(f"{count} runs stay open: {reason}")
        with self.state.together():
            for board in dict.fromkeys(self.placement.astray().values()):
                self._part(board, "it is not among the boards", busy=False)

    def _begin(self) -> None:
        """Give each free board its next run; none where a limit says so."""
        starts: list[tuple[Cell, int, str]] = []
        for board in self.free:
            found = self.placement.take(board)
            if found is None:
                continue
            cell, repeat = found
            self.reason = self._may_not(self.estimator.of(cell.id))
            if self.reason:
                self.placement.put_back((cell.id, repeat))
                break
            starts.append((cell, repeat, board))
            self.running[cell.id, repeat] = board, time.monotonic()
        if not starts:
            return
        with self.state.together():
            for cell, repeat, board in starts:
                self.state.started((cell.id, repeat), board)
        for number, (cell, repeat, board) in enumerate(starts):
            del self.free[board]
            already = len(self.running) - len(starts) + number + len(self.ended)
            self.watch.begin(cell, repeat, board, already, self._total(), self._seconds_left())
        self.executor.begin([self._job(*start) for start in starts])

    def _total(self) -> int:
        return len(self.ended) + len(self.running) + self.placement.left

    def _seconds_left(self) -> float:
        """What is left, shared out among the boards."""

        def reckon() -> float:
            waiting = sum(self.estimator.of(cell).seconds * self.placement.left_of(cell) for cell in self.cells)
            going_on = sum(self.estimator.of(cell).seconds for cell, _ in self.running)
            return (waiting + going_on) / max(1, len(self.placement.boards))

        return self.rest.value(reckon, _RECKONED)

    def _may_not(self, estimate: Estimate) -> str:
        """Why the next run must not be begun; empty: it may."""
        spec = self.plan.spec
        known = estimate.seconds if estimate.source == "measured" else 0.0
        now = time.monotonic()
        going_on = sum(now - began for _, began in self.running.values()) if spec.time is not None else 0.0
        for limit, spent, what in (
            (spec.time, self.progress.seconds + going_on, "budget of the matrix"),
            (self.how.max_time, now - self.began, "--max-time"),
        ):
            if limit is not None and spent + known >= limit:
                return f"the next run would exceed the {what} of {human(limit, 's')} ({human(spent, 's')} are used)"
        expected = estimate.bytes * (1 + len(self.running))
        if spec.bytes is not None and self.size.value(self.folder.bytes, _WALKED) + expected > spec.bytes:
            return f"the next run would exceed the budget of {human(spec.bytes, 'bytes')} on disk"
        space = os.statvfs(self.folder.path)
        free = space.f_bavail * space.f_frsize
        if free < LEAST_FREE + _WORKING_SPACE * expected:
            return f"only {human(free, 'bytes')} are free where {self.folder.path} lies; free some"
        return ""

    def _take(self, event: Event) -> None:
        if isinstance(event, Said):
            self.watch.say(event.line)
        elif isinstance(event, Began):
            self.state.process(event.key, event.pid, event.start_time, event.boot)
        elif isinstance(event, Over):
            self._over(event)
        else:
            self._gone(event)

    def _over(self, over: Over) -> None:
        if over.key not in self.running:
            return  # of a board that was given up
        board, _ = self.running.pop(over.key)
        end = over.end
        for sentence in over.says:
            self.watch.say(sentence)
        if over.code is not None and over.code < 0:
            self._clean()
        self.state.ended(over.key, end)
        self.progress.take(over.key, end)
        self.estimator.take(over.key[0], end)
        self.size.add(end.bytes)
        if end.interrupted:
            self.placement.put_back(over.key)
        else:
            self.ended[over.key] = bool(end.failed)
        self.watch.end(self.cells[over.key[0]], over.key[1], end)
        if over.lost:
            self._part(board, over.lost, over.busy)
        else:
            self.free[board] = None

    def _gone(self, gone: Gone) -> None:
        for key, (board, _) in list(self.running.items()):
            if board == gone.board:
                del self.running[key]
                self.placement.put_back(key)
        if gone.board not in self.lost:
            self._part(gone.board, gone.why, busy=False)

    def _part(self, board: str, why: str, busy: bool) -> None:
        """Set a board aside.  Its cells begin anew on an equal one where they may, so that no cell mixes two boards.

        Where somebody else has it, cells that have run on it wait for it.
        """
        why = self.lost[board] = why.removeprefix(f"{BOARD} {board}: ")
        self.free.pop(board, None)
        moved = 0
        for cell in self.placement.lose(board):
            mine = [key for key in self.progress.ended if key[0] == cell] if busy else []
            if busy and not mine:
                self.placement.begin_anew(cell)
            elif not busy and self.placement.may_move(cell):
                self._move(cell)
                moved += 1
        going = f"; {moved} cells begin anew on equal boards" if moved else ""
        self.watch.say(f"{board} is set aside: {why}{going}")

    def _move(self, cell: str) -> None:
        self.state.moved(cell)
        for end in self.progress.move(cell):
            if end.run:
                self._set_aside(end.run)
        self.ended = {key: failed for key, failed in self.ended.items() if key[0] != cell}
        self.placement.begin_anew(cell)

    def _job(self, cell: Cell, repeat: int, board: str) -> Job:
        factors = {"matrix.name": self.plan.spec.name, "matrix.cell": cell.id, "matrix.repeat": str(repeat)}
        runs = self.folder.runs.resolve()
        words = (
            *("run", "--quiet", "--output", str(runs), "--name", f"{cell.id}-{repeat}"),
            *(f"--factor={name}={value}" for name, value in factors.items()),
            "--report" if self.how.keep == "metrics" else "--no-report",
            *(placed_words(cell.words, board) if board else cell.words),
        )
        return Job(
            cell=cell.id,
            repeat=repeat,
            board=board,
            words=words,
            runs=str(runs),
            set_aside=str(self.folder.set_aside.resolve()),
            log=str((self.folder.logs / f"{cell.id}-{repeat}.log").resolve()),
            folder=str(Path.cwd()),
            keep=self.how.keep,
            timeout=self.plan.spec.timeout,
            patience=self.how.patience,
            variables=dict(self.how.variables),
        )

    def _set_aside(self, run: str) -> None:
        path = self.folder.runs / run
        if path.is_dir():
            self.folder.set_aside.mkdir(exist_ok=True)
            path.rename(self.folder.set_aside / run)


class _Reckoned:
    """A figure that is costly to get: it holds for a while, and may be added to meanwhile."""

    def __init__(self) -> None:
        self._value, self._until = 0.0, 0.0

    def value(self, reckon: Callable[[], float], seconds: float) -> float:
        now = time.monotonic()
        if now >= self._until:
            self._value = reckon()
            self._until = now + seconds
        return self._value

    def add(self, more: float) -> None:
        self._value += more


def placed_words(words: Sequence[str], board: str) -> list[str]:
    """A cell's words with the board that it is placed on, in place of the one, or the kind, that they name."""
    end = words.index("--") if "--" in words else len(words)
    option = f"--{BOARD}="
    return [f"{option}{board}", *(word for word in words[:end] if not word.startswith(option)), *words[end:]]
