"""A run's way from a board to the desk, where it is cut, was begun before, or is not the only one.

The "board" is this machine, its agent the real one where the test does not answer in its place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprof.cli.main import main
from edgeprof.profiler.agent import journal
from edgeprof.profiler.agent.capture import Outcome
from edgeprof.profiler.board import job as jobs
from edgeprof.profiler.board.arrival import remember, settle
from edgeprof.profiler.board.book import Board, Book
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import Lost, Unreachable
from edgeprof.profiler.board.fetch import fetch, make_partial, partial_folder
from edgeprof.profiler.board.run import Interrupted, pull
from tests.board_stand_in import CONTENT, JOB, RUN, answer, leave_job, local_ssh, stand_in

OTHERS = {letter * 16: f"20260102T000000Z-x-{letter * 6}" for letter in "abc"}
"""Three more jobs, oldest first, and their captures."""


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the board ``pi``, of which each test says what it answers."""
    folder = tmp_path_factory.mktemp("board")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROF_SSH", str(local_ssh(folder)))
        patch.setenv("EDGEPROF_BOARD_HOME", str(folder / "home"))
        patch.setenv("EDGEPROF_BOARD_LOCKS", str(folder))
        patch.setenv("EDGEPROF_BOARDS", str(folder / "boards.json"))
        patch.setattr("edgeprof.profiler.board.connection.PAUSES", (0.0, 0.0, 0.0))
        Book().put(Board("pi", "nowhere", stand_in(folder, "")))
        yield folder


@pytest.fixture
def connection(board: Path) -> Iterator[Connection]:
    answer(board, "")
    with Connection(Book().find("pi")) as found:
        yield found


@pytest.fixture
def home(connection: Connection) -> Path:
    """Where the board keeps one job that is over."""
    place = Path(connection.hello.home)
    shutil.rmtree(place / "jobs", ignore_errors=True)
    leave_job(place)
    return place


def pulled(connection: Connection, runs: Path, said: list[str] | None = None) -> Outcome:
    """Fetch the job."""
    say = (said if said is not None else []).append
    return pull(connection, jobs.state(connection, JOB), runs, lambda name, path: None, say)


def remote(outcome: Outcome) -> dict[str, object]:
    """What the manifest says of the board."""
    found = json.loads(Path(outcome.path, "manifest.json").read_text())["remote"]
    assert isinstance(found, dict)
    return found


DIES = "os.kill(os.getpid(), signal.SIGKILL)"


# -- cut ---------------------------------------------------------------------------------------------------------------


def test_a_run_that_is_here_already_is_removed_from_the_board_and_not_fetched_again(
    connection: Connection, home: Path, board: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    answer(board, f'if name == "forget": {DIES}')
    first = pulled(connection, tmp_path, said)
    assert "is still on the board, too: `edgeprof board pull pi` removes it" in said[-1]
    answer(board, 'if name == "send": sys.exit(1)')
    again = pulled(connection, tmp_path)
    assert (again.path, again.code()) == (first.path, first.code())
    assert [item.name for item in tmp_path.iterdir()] == [RUN]
    assert jobs.jobs(connection) == []


def test_a_cut_between_the_exchanges_of_clocks_costs_nothing(
    connection: Connection, home: Path, board: Path, tmp_path: Path
) -> None:
    cut = str(tmp_path / "cut")
    answer(board, f'if name == "clock" and not os.path.exists({cut!r}): os.mkdir({cut!r}); {DIES}')
    said: list[str] = []
    found = remote(pulled(connection, tmp_path / "runs", said))
    assert isinstance(found["clock"], dict)
    assert abs(found["clock"]["offset_ns"]) <= found["clock"]["error_ns"]
    assert said == ["board pi: the connection ended during comparing the clocks; connecting again in 0 s"]


@pytest.mark.parametrize("command", ["clock", "files", "send"])
def test_a_cut_that_lasts_says_how_the_run_is_fetched_later(
    connection: Connection, home: Path, board: Path, tmp_path: Path, command: str
) -> None:
    answer(board, f'if name == "{command}": {DIES}')
    with pytest.raises(Lost, match=rf"the run is kept there: `edgeprof board pull pi {JOB}` fetches"):
        pulled(connection, tmp_path)


def test_a_connection_is_tried_again_after_pauses(
    connection: Connection, board: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr("edgeprof.profiler.board.connection.PAUSES", (1.0, 5.0, 15.0))
    monkeypatch.setattr("edgeprof.profiler.board.connection.time", SimpleNamespace(sleep=paused.append))
    said: list[str] = []
    monkeypatch.setenv("EDGEPROF_SSH", "/bin/false")  # the network is down
    with pytest.raises(Unreachable):
        connection.open_again(Lost("pi", "the connection ended; call somebody"), said.append)
    assert paused == [1.0, 5.0, 15.0]
    assert said[0] == "board pi: the connection ended; connecting again in 1 s"
    assert said[1].endswith("(ssh ended with 1); connecting again in 5 s")


def test_an_interrupted_fetch_says_so_and_is_told_from_a_failure(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    def interrupt(name: str, path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(
        Interrupted, match=f"interrupted; the run is kept there: `edgeprof board pull pi {JOB}`"
    ) as told:
        pull(connection, jobs.state(connection, JOB), tmp_path, interrupt, print)
    assert told.value.exit_code == 130


def test_all_of_a_capture_is_on_the_disk_before_it_has_its_place(
    connection: Connection, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what came while the run was watched, which no fetch brings again."""
    here = make_partial(tmp_path, JOB) / "capture" / RUN
    (here / "raw" / "procfs").mkdir(parents=True)
    frames = Path("raw", "procfs", "samples.frames")
    (here / frames).write_bytes(CONTENT[f"capture/{RUN}/{frames}"])
    synced: set[tuple[int, int]] = set()
    fsync = os.fsync

    def record(file: int) -> None:
        facts = os.fstat(file)
        synced.add((facts.st_dev, facts.st_ino))
        fsync(file)

    rename = Path.rename

    def look_first(path: Path, target: Path) -> Path:
        missing = [item for item in (path, *path.rglob("*")) if (item.stat().st_dev, item.stat().st_ino) not in synced]
        assert missing == []
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record)
    monkeypatch.setattr(Path, "rename", look_first)
    fetched = fetch(connection, JOB, tmp_path, print)
    arrived = settle("pi", fetched.folder, tmp_path, {})
    assert fetched.bytes < fetched.total / 2
    assert (arrived.path / frames).read_bytes() == CONTENT[f"capture/{RUN}/{frames}"]


# -- clocks of another boot --------------------------------------------------------------------------------------------


def test_a_clock_of_another_boot_of_the_board_is_not_that_of_the_run(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    leave_job(home, boot_id="11111111-2222-3333-4444-555555555555")
    assert remote(pulled(connection, tmp_path))["clock"] == {
        "reason": "there was no exchange before the run, and the board was started anew since"
    }


@pytest.mark.parametrize("facts", [{}, {"before": None}, {"before": {"desk_ns": 1}}])
def test_what_the_desk_remembers_by_half_does_not_cost_the_run(
    connection: Connection, home: Path, tmp_path: Path, facts: dict[str, object]
) -> None:
    leave_job(home, boot_id=journal.boot_id())
    remember(make_partial(tmp_path, JOB), {"desk_boot_id": journal.boot_id(), **facts})
    clock = remote(pulled(connection, tmp_path))["clock"]
    assert isinstance(clock, dict)
    assert clock["reason"] == "there was no exchange before the run"
    assert abs(clock["offset_ns"]) <= clock["error_ns"], "the board was not started anew"


# -- files that stay there ---------------------------------------------------------------------------------------------


def test_a_run_of_which_files_cannot_be_fetched_is_marked_and_stays_until_the_next_pull(
    connection: Connection, home: Path, tmp_path: Path
) -> None:
    capture = home / "jobs" / JOB / "capture"
    deep = capture / RUN / "raw" / "1" / "2" / "3" / "4" / "5"
    deep.mkdir(parents=True)
    for path in (deep / "deep", capture / "beside", capture / RUN / "raw" / "two\nlines"):
        path.touch()
    (capture / RUN / "raw" / os.fsdecode(b"no \xff UTF-8")).touch()
    said: list[str] = []
    found = remote(pulled(connection, tmp_path, said))
    assert (found["files"], found["unreadable"]) == (len(CONTENT), 4)
    assert "board pi: 4 file(s) of the run could not be fetched" in said[-1]
    assert f"the run stays in {home}/jobs/{JOB} until the next `edgeprof board pull pi`" in said[-1]
    assert deep.exists()
    pulled(connection, tmp_path)
    assert jobs.jobs(connection) == []
    assert [item.name for item in tmp_path.iterdir()] == [RUN]


# -- several runs ------------------------------------------------------------------------------------------------------


@pytest.fixture
def several(home: Path) -> Path:
    """The board with more jobs of this user's."""
    for at, (job, run) in enumerate(OTHERS.items()):
        os.utime(leave_job(home, job, run, owner=jobs.whoami()), ns=(at, at))
    return home


def test_a_job_that_cannot_be_fetched_does_not_keep_the_others_on_the_board(
    several: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second, third = OTHERS.values()
    (tmp_path / second).mkdir()
    assert main(["board", "pull", "pi", "-o", str(tmp_path), "--no-ingest"]) == 120
    told = capfd.readouterr().err
    assert f"job {'b' * 16}: {tmp_path / second} cannot be written" in told
    assert all(f"captured in {tmp_path / run};" in told for run in (first, third))
    assert sorted(item.name for item in several.glob("jobs/*")) == [JOB, "b" * 16]
    assert partial_folder(tmp_path, "b" * 16).is_dir(), "what has come is kept"
    (tmp_path / second).rmdir()
    assert main(["board", "pull", "pi", "-o", str(tmp_path), "--no-ingest", "--json"]) == 0
    (fetched,) = json.loads(capfd.readouterr().out.removeprefix("hello\n"))["fetched"]
    assert fetched["path"] == str(tmp_path / second)


def test_a_board_that_is_lost_in_mid_pull_leaves_the_rest_and_what_has_come_is_read(
    several: Path, board: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, _, third = OTHERS.values()
    gone = repr(str(tmp_path / "gone"))
    answer(
        board,
        f"""
        if name == "send" and sys.argv[5] == "{"b" * 16}":
            open({gone}, "w").close()
        if os.path.exists({gone}):
            {DIES}
        """,
    )
    assert main(["board", "pull", "pi", "-o", str(tmp_path / "runs"), "--no-ingest"]) == 123
    told = capfd.readouterr().err
    (tmp_path / "gone").unlink()
    assert f"captured in {tmp_path / 'runs' / first};" in told
    assert f"`edgeprof board pull pi {'b' * 16}` fetches what is missing" in told
    assert "c" * 16 not in told
    assert not (tmp_path / "runs" / third).exists()


def test_a_board_whose_examination_cannot_be_printed_does_not_stop_the_check_of_others(
    connection: Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    examination = {
        "board": {},
        "machine": [],
        "sensors": [],
        "collectors": [{"name": "procfs", "reason": "", "remedy": ""}],  # whether it is available is missing
    }
    Book().put(Board("bad", "nowhere", stand_in(tmp_path, f'if name == "examine": say({examination!r}); sys.exit()')))
    try:
        assert main(["board", "check", "bad", "pi"]) == 123
    finally:
        Book().remove("bad")
    told = capfd.readouterr()
    assert "board bad: its answer was refused" in told.err
    assert "board pi" in told.out
