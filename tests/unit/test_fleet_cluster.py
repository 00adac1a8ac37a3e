"""A matrix over boards whose runs are done by the real dispatch, and are nothing but a note of what was asked."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.execute import How, Result, run_matrix
from edgeprof.profiler.matrix.folder import MatrixFolder
from edgeprof.profiler.matrix.one_run import Job, Over
from edgeprof.profiler.matrix.placement import Board
from edgeprof.profiler.matrix.plan import Cell, Plan
from edgeprof.profiler.matrix.state import Ended, read_state
from tests.unit.test_fleet_placement import plan_of

pytest.importorskip("distributed", reason="needs Dask: pip install 'edgeprof[fleet]'")

from edgeprof.profiler.fleet.cluster import dask_at_work, fleet_at, fleet_here
from edgeprof.profiler.fleet.errors import WrongFleet
from edgeprof.profiler.fleet.proxy import Control
from edgeprof.profiler.fleet.serve import serve
from edgeprof.profiler.fleet.shelf import Shelf

HOW = How(patience=(0.1, 0.1, 0.1), retries=1)


class Listener:
    """Keeps what a user would see."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun = 0
        self.on_tick = lambda: None

    def say(self, line: str) -> None:
        self.lines.append(line)

    def begin(self, cell: Cell, repeat: int, board: str, done: int, total: int, left: float) -> None:
        self.begun += 1

    def tick(self) -> None:
        self.on_tick()

    def end(self, cell: Cell, repeat: int, end: Ended) -> None:
        return


@dataclass(frozen=True)
class Note:
    """Does nothing but tell a process and write down which board was asked for which run."""

    folder: str
    dead: str = ""
    after: int = 0
    busy: bool = False

    def __call__(self, job: Job, control: Control) -> Over:
        control.began(job, os.getpid(), 1)
        seen = Path(self.folder, f"{job.board}.log")
        with seen.open("a") as file:
            file.write(f"{job.cell} {job.repeat} {threading.get_ident()}\n")
        end = Ended(f"{job.name}-run", 0, 0.01, 10, board=job.board)
        if job.board == self.dead and len(seen.read_text().splitlines()) > self.after:
            end = replace(end, run="", interrupted=True)
            return Over(job.key, job.board, end, 123, lost="it does not answer", busy=self.busy)
        return Over(job.key, job.board, end, 0)


class Blocked:
    """Waits until it is asked to end."""

    def __call__(self, job: Job, control: Control) -> Over:
        deadline = time.monotonic() + 30
        while not control.count and time.monotonic() < deadline:
            time.sleep(0.01)
        return Over(job.key, job.board, Ended("", 130, 1.0, 0, interrupted=True, board=job.board), 130)


def shelf_of(count: int, kind: str = "k") -> Shelf:
    return Shelf(tuple(Board(f"b{number}", kind) for number in range(count)))


def run(plan: Plan, folder: Path, shelf: Shelf, runner: Note | Blocked, watch: Listener | None = None) -> Result:
    with fleet_here(shelf, runner) as executor:
        return run_matrix(plan, MatrixFolder(folder), HOW, watch or Listener(), executor)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    return tmp_path / "notes"


def asked(notes: Path) -> dict[str, list[tuple[str, int]]]:
    """The runs that each board was asked for."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for path in notes.iterdir():
        for line in path.read_text().splitlines():
            cell, repeat, _ = line.split()
            found[path.stem].append((cell, int(repeat)))
    return found


def test_a_hundred_boards_do_a_thousand_runs_each_once(tmp_path: Path, notes: Path) -> None:
    plan = plan_of(250, repeats=4)
    result = run(plan, tmp_path / "m", shelf_of(100), Note(str(notes)))
    assert (result.done, result.failed, result.left, result.stopped) == (1000, 0, 0, "")
    found = asked(notes)
    assert Counter(run for runs in found.values() for run in runs) == Counter(
        {(cell.id, repeat): 1 for cell in plan.cells for repeat in range(1, 5)}
    )
    boards: dict[str, set[str]] = defaultdict(set)
    for board, runs in found.items():
        for cell, _ in runs:
            boards[cell].add(board)
    assert all(len(several) == 1 for several in boards.values()), "repeats stay on the board of the first"
    assert len(found) > 50, "all boards take part"
    progress = read_state(tmp_path / "m")
    assert {key: end.board for key, end in progress.ended.items()} == {
        run: board for board, runs in found.items() for run in runs
    }
    assert progress.open == {}


def test_the_fleet_listens_on_loopback_alone_and_only_for_pages(tmp_path: Path, notes: Path) -> None:
    def listening() -> set[tuple[str, str]]:
        """Address and inode of this process's listening sockets."""
        mine = set()
        for path in Path("/proc/self/fd").iterdir():
            try:
                mine.add(str(path.readlink()))
            except OSError:
                continue
        found = set()
        for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
            for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in mine:
                    found.add((fields[1].partition(":")[0], fields[9]))
        return found

    before = listening()
    with fleet_here(shelf_of(2), Note(str(notes))) as executor:
        assert executor._client.scheduler.address.startswith("inproc://")
        assert {address for address, _ in listening() - before} <= {"0100007F"}


def test_a_lost_board_is_set_aside_and_its_cells_begin_anew_elsewhere(tmp_path: Path, notes: Path) -> None:
    plan = plan_of(12, repeats=3)
    watch = Listener()
    result = run(plan, tmp_path / "m", shelf_of(3), Note(str(notes), dead="b1", after=5), watch)
    assert (result.done, result.left, dict(result.lost)) == (36, 0, {"b1": "it does not answer"})
    assert any(line.startswith("b1 is set aside: it does not answer") for line in watch.lines)
    assert len(asked(notes)["b1"]) == 6, "it is asked for nothing more"
    progress = read_state(tmp_path / "m")
    boards: dict[str, set[str]] = defaultdict(set)
    for (cell, _), end in progress.ended.items():
        boards[cell].add(end.board)
    assert all(len(several) == 1 for several in boards.values()), "no cell mixes two boards"
    assert progress.moves
    assert set(progress.moves.values()) == {1}


def test_what_only_the_lost_board_may_run_stays_open_and_is_run_when_it_is_back(tmp_path: Path, notes: Path) -> None:
    plan = plan_of(3, ["b0", "b1"], repeats=2)
    result = run(plan, tmp_path / "m", shelf_of(2), Note(str(notes), dead="b1", after=1))
    assert (result.done, result.left) == (7, 5)
    assert result.stopped == "no board is there for the rest (b1 set aside)"
    again = run(plan, tmp_path / "m", shelf_of(2), Note(str(notes)))
    assert (again.done, again.left, again.stopped) == (5, 0, "")
    assert len(read_state(tmp_path / "m").ended) == 12


def test_cells_wait_for_a_board_that_somebody_else_has(tmp_path: Path, notes: Path) -> None:
    plan = plan_of(8, repeats=2)
    result = run(plan, tmp_path / "m", shelf_of(2), Note(str(notes), dead="b1", after=2, busy=True))
    progress = read_state(tmp_path / "m")
    stays = {cell for (cell, _), end in progress.ended.items() if end.board == "b1"}
    assert stays
    assert result.left == sum((cell, repeat) not in progress.ended for cell in stays for repeat in (1, 2))
    assert progress.moves == {}, "what has run there is not run again elsewhere"
    again = run(plan, tmp_path / "m", shelf_of(2), Note(str(notes)))
    assert again.left == 0
    assert {end.board for (cell, _), end in read_state(tmp_path / "m").ended.items() if cell in stays} == {"b1"}


def test_a_board_that_is_on_the_shelf_no_more_gives_its_cells_away(tmp_path: Path, notes: Path) -> None:
    plan = plan_of(4, repeats=2)
    first = plan_of(4, repeats=1)
    assert run(first, tmp_path / "m", shelf_of(2), Note(str(notes))).done == 4
    kept = [end for end in read_state(tmp_path / "m").ended.values() if end.board == "b0"]
    watch = Listener()
    result = run(plan, tmp_path / "m", shelf_of(1), Note(str(notes)), watch)
    assert result.left == 0
    assert result.done == 8 - len(kept)
    assert {end.board for end in read_state(tmp_path / "m").ended.values()} == {"b0"}
    assert any("b1 is set aside: it is not among the boards" in line for line in watch.lines)


def test_an_interruption_ends_all_runs_at_once(tmp_path: Path) -> None:
    watch = Listener()
    plan = plan_of(20, repeats=2)

    def interrupt() -> None:
        if watch.begun == 10:
            watch.begun += 1
            os.kill(os.getpid(), 2)

    watch.on_tick = interrupt
    began = time.monotonic()
    result = run(plan, tmp_path / "m", shelf_of(10), Blocked(), watch)
    assert time.monotonic() - began < 20
    assert (result.done, result.left, result.interrupted) == (0, 40, True)
    assert "ending 10 runs, and putting back what was changed" in watch.lines
    progress = read_state(tmp_path / "m")
    assert (progress.ended, progress.open) == ({}, {})


class Broken:
    """A proxy's own failure."""

    def __call__(self, job: Job, control: Control) -> Over:
        if job.board == "b0":
            raise RuntimeError("broken")
        return Over(job.key, job.board, Ended(f"{job.name}-run", 0, 0.01, 10, board=job.board), 0)


def test_a_proxy_that_fails_costs_its_board_alone(tmp_path: Path) -> None:
    plan = plan_of(6, repeats=2)
    with fleet_here(shelf_of(2), Broken()) as executor:
        result = run_matrix(plan, MatrixFolder(tmp_path / "m"), HOW, Listener(), executor)
    assert (result.done, result.left) == (12, 0)
    assert "broken" in result.lost["b0"]


def test_a_scheduler_that_is_silent_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    class Late(Exception):
        """As asyncio's own up to Python 3.10: not the built-in one."""

    class Client:
        def __init__(self, *words: object, **options: object) -> None:
            raise Late

    monkeypatch.setattr(distributed, "TimeoutError", Late)
    monkeypatch.setattr(distributed, "Client", Client)
    with (
        pytest.raises(WrongFleet, match="no Dask scheduler answers at tcp://desk:8786"),
        fleet_at("tcp://desk:8786", lambda shelf: Broken(), tmp_path),
    ):
        pass
    with pytest.raises(WrongFleet, match="no Dask scheduler answers at tcp://desk:8786"):
        serve(shelf_of(1), "tcp://desk:8786", lambda: None)
    with pytest.raises(EdgeprofError, match="the fleet's scheduler failed"), dask_at_work():
        raise Late
