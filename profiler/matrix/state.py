"""The state of a matrix: an append-only file of JSON lines, each durable before the next thing is done.

Lines are ``plan`` (what the specification said, whenever that has changed), ``started``, ``process`` (who runs it),
``ended`` and ``moved`` (a cell begins anew on another board).  A run that was started and did not end was interrupted.
A line that is cut off is passed over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent.journal import boot_id
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.errors import NoMatrix
from edgeprof.profiler.matrix.folder import STATE
from edgeprof.profiler.matrix.plan import Plan

Key = tuple[str, int]
"""A cell's id and the number of a repeat, from 1."""


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        run: name of its capture directory; empty where there is none.
        exit_code: of ``edgeprof run``; None: it was killed.
        seconds: from start to end, preparation and ingest included.
        bytes: that it keeps on disk.
        failed: why it has no figures; empty where all is well.
        interrupted: whether the matrix itself ended it, or its board was lost; then it is run again.
        board: that it ran on; empty: on this machine.
    """

    run: str
    exit_code: int | None
    seconds: float
    bytes: int
    failed: str = ""
    interrupted: bool = False
    board: str = ""


@dataclass
class Progress:
    """What the state file says.

    Attributes:
        plan: the last one: name, axes, baseline, repeats, cells (id -> levels), left_out.
        ended: the last end of each run that was not interrupted.
        open: runs that were started and did not end, with their process (pid, start_time) where it is of this boot.
        seconds: that all runs have taken, also those that were interrupted, failed or were repeated.
        moves: how often a cell has begun anew on another board.
    """

    plan: dict[str, Any] = field(default_factory=dict)
    ended: dict[Key, Ended] = field(default_factory=dict)
    open: dict[Key, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    moves: dict[str, int] = field(default_factory=dict)

    def take(self, key: Key, end: Ended) -> None:
        """A run has ended."""
        self.open.pop(key, None)
        self.seconds += end.seconds
        if not end.interrupted:
            self.ended[key] = end

    def move(self, cell: str) -> list[Ended]:
        """A cell begins anew on another board: its runs count no more, and are returned."""
        self.moves[cell] = self.moves.get(cell, 0) + 1
        return [self.ended.pop(key) for key in [key for key in self.ended if key[0] == cell]]

    def pins(self) -> dict[str, str]:
        """The board of each cell that has run on one; all of its repeats stay there."""
        return {cell: end.board for (cell, _), end in self.ended.items() if end.board}

    @property
    def cells(self) -> dict[str, dict[str, str]]:
        """Levels of each cell of the last plan."""
        cells: dict[str, dict[str, str]] = self.plan["cells"]
        return cells

    def by_cell(self) -> dict[str, list[Ended]]:
        """The runs that have ended of each cell, in the order of their repeats' first end."""
        found: dict[str, list[Ended]] = {}
        for (cell, _), end in self.ended.items():
            found.setdefault(cell, []).append(end)
        return found

    def keys(self) -> Iterator[Key]:
        """Every run of the last plan, round by round."""
        for repeat in range(1, self.plan["repeats"] + 1):
            for cell in self.cells:
                yield cell, repeat

    def counts(self, cell: str) -> tuple[int, int, int]:
        """Runs of a cell that are done, failed and left."""
        found = [self.ended.get((cell, repeat)) for repeat in range(1, self.plan["repeats"] + 1)]
        failed = sum(end is not None and bool(end.failed) for end in found)
        left = sum(end is None for end in found)
        return len(found) - failed - left, failed, left


def plan_record(plan: Plan) -> dict[str, Any]:
    """A plan as the state keeps it: enough to tell the study without the specification."""
    spec = plan.spec
    return {
        "name": spec.name,
        "axes": {name: spec.levels_of(name) for name in spec.axes},
        "fixed": dict(spec.fixed),
        "command": list(spec.command),
        "baseline": dict(spec.baseline),
        "repeats": spec.repeats,
        "seed": spec.seed,
        "cells": {cell.id: dict(cell.levels) for cell in plan.cells},
        "words": {cell.id: list(cell.words) for cell in plan.cells},
        "left_out": [{"levels": dict(item.levels), "reason": item.reason} for item in plan.left_out],
    }


def read_state(folder: Path) -> Progress:
    """Read a matrix's state.

    Raises:
        NoMatrix: there is none.
        EdgeprofError: it cannot be read.
    """
    progress = Progress()
    try:
        lines = (folder / STATE).read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        raise NoMatrix(folder) from None
    except OSError as error:
        raise EdgeprofError(f"cannot read the state of {folder}: {error.strerror}; mend that first") from None
    for line in lines:
        try:
            entry = json.loads(line)
            _take(progress, entry)
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # cut off by a crash, or not ours
    if not progress.plan:
        raise NoMatrix(folder)
    return progress


def _take(progress: Progress, entry: Mapping[str, Any]) -> None:
    event = entry["event"]
    if event == "plan":
        progress.plan = dict(entry["plan"])
        return
    if event == "moved":
        progress.move(str(entry["cell"]))
        return
    key = str(entry["cell"]), int(entry["repeat"])
    if event == "started":
        progress.open[key] = {}
    elif event == "process" and entry["boot_id"] == boot_id():
        progress.open[key] = {name: entry[name] for name in ("pid", "start_time")}
    elif event == "ended":
        progress.take(key, _end(entry["end"]))


def _end(fields: Mapping[str, Any]) -> Ended:
    """How a run ended; its directory is a name, so that none leads out of the matrix.  Raises TypeError, ValueError."""
    end = Ended(**fields)
    if end.run and (end.run == ".." or Path(end.run).name != end.run):
        raise ValueError(f"{end.run!r} is no name of a capture directory")
    return end


class StateFile:
    """The state file, open for writing; the folder must be locked.

    Each line is on the disk when the call returns, or, within `together`, when that block ends: nothing that rests on
    one of its lines may be done before.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._file = os.open(folder / STATE, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise EdgeprofError(f"cannot write the state of {folder}: {error.strerror}; mend that first") from None
        size = os.fstat(self._file).st_size
        if size and os.pread(self._file, 1, size - 1) != b"\n":  # a crash cut the last line off
            os.write(self._file, b"\n")
        self._held: list[bytes] | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what comes in this block as one, and wait for the disk once."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            if held:
                self._write(b"".join(held))

    def plan(self, record: Mapping[str, Any]) -> None:
        """The specification as it is now."""
        self._add({"event": "plan", "plan": record})

    def started(self, key: Key, board: str = "") -> None:
        """A run is about to be started."""
        self._add({"event": "started", "cell": key[0], "repeat": key[1], **({"board": board} if board else {})})

    def process(self, key: Key, pid: int, start_time: int, boot: str | None = None) -> None:
        """Which process runs it; ``boot`` is the boot of its machine, where that is another."""
        who = {"pid": pid, "start_time": start_time, "boot_id": boot or boot_id()}
        self._add({"event": "process", "cell": key[0], "repeat": key[1], **who})

    def ended(self, key: Key, end: Ended) -> None:
        """A run has ended."""
        self._add({"event": "ended", "cell": key[0], "repeat": key[1], "end": asdict(end)})

    def moved(self, cell: str) -> None:
        """A cell begins anew on another board."""
        self._add({"event": "moved", "cell": cell})

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _add(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps({**entry, "time": time.time()}, default=str).encode() + b"\n"
        if self._held is None:
            self._write(line)
        else:
            self._held.append(line)

    def _write(self, lines: bytes) -> None:
        try:
            while lines:
                lines = lines[os.write(self._file, lines) :]
            os.fsync(self._file)
        except OSError as error:
            raise EdgeprofError(
                f"cannot write the state of the matrix: {error.strerror}; mend that and start it again: it goes on"
            ) from None


def same_plan(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two records of a plan say the same."""
    return bool(json.loads(json.dumps(first, default=str)) == json.loads(json.dumps(second, default=str)))


def levels_match(levels: Mapping[str, str], wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether a cell has one of the levels wanted of each axis."""
    return all(levels[name] in several for name, several in wanted.items())
