"""Boards over a real ssh server on loopback: added, checked, profiled; and all that can go wrong on the way."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeprof.cli.main import main
from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.board import fetch as fetching
from edgeprof.profiler.board import job as jobs
from edgeprof.profiler.board.book import Board, Book
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import (
    BoardFull,
    CannotPrepare,
    ChangedHostKey,
    Lost,
    NoPython,
    NotLetIn,
    OldPython,
    Refused,
    TooLarge,
    UnknownHostKey,
    Unreachable,
)
from edgeprof.profiler.board.run import NoCapture, Request, pull, run_on_board
from tests.board_stand_in import stand_in
from tests.helpers import alive, children_of, wait_until
from tests.ssh_server import Shelf, SshBoard, missing_sshd, shelf

pytestmark = pytest.mark.skipif(bool(missing_sshd()), reason=missing_sshd() or "")

QUICK = ["procfs"]
FOREVER = ["sh", "-c", "echo begun; exec sleep 600"]


@pytest.fixture(scope="module")
def boards() -> Iterator[Shelf]:
    with shelf() as found, pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment().items():
            patch.setenv(name, value)
        found.add("pi")
        Book().put(Board("pi", "pi"))
        yield found


@pytest.fixture
def pi(boards: Shelf) -> Iterator[SshBoard]:
    """The board, listening; what a test leaves running there is ended."""
    board = boards.boards["pi"]
    if board.process is None:
        board.start()
    yield board
    if board.processes():
        board.end_all()
    shutil.rmtree(board.home / "jobs", ignore_errors=True)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was lost is tried again at once."""
    monkeypatch.setattr("edgeprof.profiler.board.connection.PAUSES", (0.0, 0.0, 0.0))


def spec(tmp_path: Path, command: list[str], **more: Any) -> RunSpec:
    return RunSpec(command, folder=str(tmp_path / "runs"), collect=QUICK, name="x", **more)


def connected(board: Board | None = None) -> Connection:
    return Connection(board or Board("pi", "pi"))


def running(board: SshBoard) -> dict[str, Any] | None:
    """The state of the one job on a board, once its workload runs."""
    for path in board.home.glob("jobs/*/state.json"):
        state: dict[str, Any] = json.loads(path.read_text())
        if state["state"] == "running" and (path.parent / "stdout").read_bytes():
            return {**state, "job": path.parent.name}
    return None


# -- as it should be ---------------------------------------------------------------------------------------------------


def test_a_board_is_added_listed_checked_and_removed(
    pi: SshBoard, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEPROF_BOARDS", str(tmp_path / "boards.json"))
    assert main(["board", "add", "shelf-1", pi.url]) == 0
    assert main(["board", "add", "shelf-1", pi.url]) == 120
    assert "there is a board shelf-1 already" in capsys.readouterr().err
    assert main(["board", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["boards"]
    assert (entry["name"], entry["address"], entry["seen"]["hostname"]) == ("shelf-1", pi.url, socket.gethostname())
    assert main(["board", "check", "shelf-1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["boards"]
    assert found["usable"] is True
    assert found["hello"]["python"].startswith("3.")
    assert found["hello"]["home"] == str(pi.home)
    assert abs(found["clock"]["offset_ns"]) <= found["clock"]["error_ns"], "it is this machine's own clock"
    assert found["holder"]["held"] is False
    assert {item["name"] for item in found["examination"]["collectors"]} >= {"procfs", "cgroup", "power"}
    assert main(["board", "check"]) == 0
    assert "answers in" in capsys.readouterr().out
    assert main(["board", "remove", "shelf-1"]) == 0
    assert main(["board", "check", "shelf-1"]) == 120
    assert "there is none yet" in capsys.readouterr().err


def test_a_run_arrives_like_a_local_one(pi: SshBoard, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "work.sh").write_text("echo out; echo err >&2; pwd; exit 7")
    words = ["run", "--board", "pi", "--sync", str(project), "-o", str(tmp_path / "runs"), "--collect", "procfs,cgroup"]
    assert main([*words, "--", "sh", "work.sh"]) == 7
    told = capfd.readouterr()
    assert told.out.startswith(f"out\n{pi.home}/sync/project-")
    assert "\nerr\n" in f"\n{told.err}"
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
    assert (run / "tables" / "process.parquet").is_file()
    assert (run / "workload.stderr").read_text() == "err\n"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["run"]["exit_code"] == 7
    remote = manifest["remote"]
    assert (remote["board"], remote["address"], remote["state"]) == ("pi", "pi", "ended")
    assert remote["fetched_bytes"] == remote["bytes"] > 0
    assert remote["sync"]["sent"] == 1
    assert abs(remote["clock"]["offset_ns"]) <= remote["clock"]["error_ns"]
    assert abs(remote["clock"]["drift_ppm"]) <= remote["clock"]["drift_error_ppm"]
    assert list(pi.home.glob("jobs/*")) == [], "nothing is left on the board"
    assert [item.name for item in (tmp_path / "runs").iterdir()] == [run.name]


def test_odd_words_arrive_as_they_are(pi: SshBoard, tmp_path: Path) -> None:
    odd = [
        "a b",
        "'",
        '"',
        "$(touch /tmp/no)",
        "`id`",
        "x\ny\t",
        "",
        "*",
        "\\",
        "--",
        "-o",
        "ü€",
        "😀",
        ";",
        "&&",
        "!1",
    ]
    odd.append(os.fsdecode(bytes(range(128, 256))))
    program = "import os, sys; os.write(1, b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
    got: dict[str, bytes] = {}
    with connected() as connection:
        request = Request(
            spec(tmp_path, ["python3", "-c", program, *odd], environment={"ODD": "a 'b\n$c"}),
            printed=lambda name, path: got.update({name: path.read_bytes()}),
        )
        outcome = run_on_board(connection, request, print)
    assert outcome.exit_code == 0
    assert got["stdout"] == b"\0".join(map(os.fsencode, odd))
    assert outcome.manifest["run"]["command"][3:-1] == odd[:-1]


def test_nothing_crosses_the_network_while_the_workload_runs(boards: Shelf, pi: SshBoard, tmp_path: Path) -> None:
    quiet: list[float] = []

    def listen() -> None:
        quiet.append(time.monotonic() + 0.5)  # what the last command has to say is through by then
        time.sleep(2.5)  # this is what is looked at
        quiet.append(time.monotonic())
        (tmp_path / "go").touch()

    with relay(pi.port) as (port, seen):
        with boards.known_hosts.open("a") as file:
            file.write(f"[127.0.0.1]:{port} {pi.host_key}\n")
        with connected(Board("pi", f"ssh://127.0.0.1:{port}")) as connection:
            helper = _once_running(pi, listen)
            run_on_board(connection, Request(spec(tmp_path, _until(tmp_path / "go"))), print)
            helper.join()
    assert [moment for moment in seen if quiet[0] < moment < quiet[1]] == []
    assert sum(moment < quiet[0] for moment in seen) > 5, "all went through it"
    assert sum(moment > quiet[1] for moment in seen) > 5, "the capture, too"


def test_live_shows_the_run_and_fetches_nothing_twice(
    pi: SshBoard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = [
        "run",
        "--board",
        "pi",
        "-o",
        str(tmp_path / "runs"),
        "--collect",
        "procfs,cgroup",
        "--no-ingest",
        "--live",
    ]
    program = "import time\nend = time.time() + 4\nwhile time.time() < end: pass"
    assert main([*words, "--", "python3", "-c", program]) == 0
    shown = [line for line in capfd.readouterr().err.splitlines() if "CPU " in line and "memory " in line]
    assert shown, "a line on what the run did"
    assert shown[0].startswith("edgeprof: 0:0")
    (run,) = (tmp_path / "runs").iterdir()
    remote = json.loads((run / "manifest.json").read_text())["remote"]
    assert remote["fetched_bytes"] < remote["bytes"] / 2, "most was there already"


# -- ssh's own failures ------------------------------------------------------------------------------------------------


def test_a_board_that_does_not_listen_is_unreachable(pi: SshBoard) -> None:
    pi.stop()
    with (
        pytest.raises(Unreachable, match=rf"board pi: no connection to {pi.url} .*Connection refused") as caught,
        connected(Board("pi", pi.url)),
    ):
        pass
    assert caught.value.exit_code == 123


def test_a_name_that_nobody_knows_is_unreachable(boards: Shelf) -> None:
    with (
        pytest.raises(Unreachable, match=r"is it on, and does `ssh no-such-host.invalid` reach it"),
        connected(Board("x", "no-such-host.invalid")),
    ):
        pass


def test_an_unknown_host_key_is_refused(boards: Shelf, pi: SshBoard) -> None:
    known = boards.known_hosts.read_text()
    boards.known_hosts.write_text("")
    try:
        with pytest.raises(UnknownHostKey, match="connect once with `ssh pi`, compare the fingerprint"), connected():
            pass
        assert boards.known_hosts.read_text() == "", "nothing was accepted for the user"
    finally:
        boards.known_hosts.write_text(known)


def test_a_changed_host_key_is_refused(boards: Shelf) -> None:
    board = boards.add("moved")
    board.new_host_key()
    with pytest.raises(ChangedHostKey, match=r"has CHANGED.*nothing was sent"), connected(Board("m", "moved")):
        pass
    assert not board.home.exists()


def test_a_key_that_does_not_fit_is_told(boards: Shelf) -> None:
    board = boards.add("closed")
    (board.folder / "authorized_keys").write_text("")
    with (
        pytest.raises(NotLetIn, match=r"Permission denied \(publickey\).*ssh-copy-id closed"),
        connected(Board("c", "closed")),
    ):
        pass


def test_without_ssh_the_user_is_told_how_to_get_it(
    boards: Shelf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPROF_SSH", "/nonexistent/ssh")
    assert main(["board", "check", "pi"]) == 121
    assert "/nonexistent/ssh cannot be started" in capsys.readouterr().err


def test_one_bad_board_does_not_stop_the_check_of_others(
    boards: Shelf, pi: SshBoard, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Book().put(Board("gone", "no-such-host.invalid"))
    Book().put(Board("hostile", "pi", stand_in(tmp_path, "while True: say(b'[' * 65536)")))
    try:
        assert main(["board", "check", "gone", "hostile", "pi", "--json"]) == 123
        told = capsys.readouterr()
    finally:
        Book().remove("gone")
        Book().remove("hostile")
    found = json.loads(told.out)["boards"]
    assert [(item["board"], item["usable"]) for item in found] == [("gone", False), ("hostile", False), ("pi", True)]
    assert "board hostile: its answer was refused (a line of more than 1048576 bytes)" in told.err


@pytest.mark.parametrize("name", ["$(touch x)", "a;b", "-oProxyCommand=x", "a b", "../x"])
def test_a_name_with_shell_characters_is_refused(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["board", "add", "--", name, "host"]) == 120
    assert main(["board", "add", "ok", "--", f"me@{name}"]) == 120
    assert main(["run", "--board", name, "-o", str(tmp_path), "--", "true"]) == 120
    assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["resnet50"], "need edgeprof on the board"),
        (["--scheduler", "none", "--", "true"], "storage is not prepared over --board"),
        (["--isolation", "container", "--image", "x", "--", "true"], "starts the command as it is"),
    ],
)
def test_what_needs_edgeprof_on_the_board_is_refused(
    words: list[str], why: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", "--board", "pi", "-o", str(tmp_path), *words]) == 120
    assert why in capsys.readouterr().err


# -- what a board may lack ---------------------------------------------------------------------------------------------


def test_a_board_without_python_is_told(pi: SshBoard) -> None:
    with (
        pytest.raises(NoPython, match=r"no /nonexistent/python on its PATH.*--python"),
        connected(Board("pi", "pi", "/nonexistent/python")),
    ):
        pass


@pytest.mark.parametrize("version", ["Python 3.6.15", "Python 2.7.18"])
def test_an_old_python_is_told(pi: SshBoard, tmp_path: Path, version: str) -> None:
    with (
        pytest.raises(OldPython, match=rf"is {version}, and the agent needs Python 3.8"),
        connected(Board("pi", "pi", stand_in(tmp_path, "", version))),
    ):
        pass


def test_what_is_no_python_is_told(pi: SshBoard) -> None:
    with pytest.raises(CannotPrepare, match="is no Python"), connected(Board("pi", "pi", "/bin/echo")):
        pass


def test_missing_tools_are_named(boards: Shelf, tmp_path: Path) -> None:
    for tool in ("sh", "mkdir", "mv", "rm", "cat"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or "")
    (tmp_path / "python3").symlink_to("/usr/bin/python3")
    boards.add("bare", {"PATH": str(tmp_path)})
    with (
        pytest.raises(CannotPrepare, match=r"no sha256sum, shasum or openssl.*coreutils"),
        connected(Board("b", "bare")),
    ):
        pass


def test_an_agent_that_was_damaged_on_the_board_is_sent_again(pi: SshBoard) -> None:
    with connected() as connection:
        path = pi.home / "agents" / connection.agent.name
        path.write_bytes(path.read_bytes()[:-100])
        old = pi.home / "agents" / "edgeprof-agent-0123456789abcdef.pyz"
        old.write_text("another version's")
    with connected() as connection:
        assert connection.pushed
        assert path.read_bytes() == connection.agent.path.read_bytes()
    with connected() as connection:
        assert not connection.pushed
    assert old.exists(), "a run of the other version may go on with it"
    assert [item.name for item in path.parent.iterdir() if item.name.startswith(".")] == [], "no half agent is left"


def test_a_shell_that_greets_does_not_disturb(pi: SshBoard) -> None:
    (pi.folder / ".bashrc").write_text("echo 'Welcome to the board!'\n")
    try:
        with connected() as connection:
            assert connection.hello.home == str(pi.home)
    finally:
        (pi.folder / ".bashrc").unlink()


@pytest.mark.root
def test_an_agent_that_another_user_could_change_is_not_run(boards: Shelf, tmp_path: Path) -> None:
    (tmp_path / "home" / "agents").mkdir(parents=True)
    os.chown(tmp_path / "home" / "agents", 12345, 12345)
    boards.add("foreign", home=tmp_path / "home")
    with pytest.raises(CannotPrepare, match="belongs to another user"), connected(Board("f", "foreign")):
        pass


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.root
def test_a_full_disk_on_the_board_is_told(boards: Shelf, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "64k") as disk:
        boards.add("full", home=disk / "home")
        with (
            pytest.raises(BoardFull, match=r"No space left on device.*EDGEPROF_BOARD_HOME"),
            connected(Board("f", "full")),
        ):
            pass
        assert list((disk / "home" / "agents").iterdir()) == [], "no half agent is left"


@pytest.mark.root
def test_a_full_disk_at_the_desk_leaves_the_run_on_the_board(
    pi: SshBoard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "KEPT_FREE", 0)
    monkeypatch.setattr("edgeprof.profiler.board.run.KEPT_FREE", 0)
    command = ["sh", "-c", "head -c 1000000 /dev/zero"]
    with (
        connected() as connection,
        small_disk(tmp_path / "runs", "500k"),
        pytest.raises(TooLarge, match="edgeprof board pull pi"),
    ):
        run_on_board(connection, Request(spec(tmp_path, command)), print)
    with connected() as connection:
        (state,) = jobs.jobs(connection)
        outcome = pull(connection, state, tmp_path / "elsewhere", lambda name, path: None, print)
    assert Path(outcome.path, "workload.stdout").stat().st_size == 1_000_000


# -- what goes wrong in mid-run ----------------------------------------------------------------------------------------


def test_a_cut_connection_is_made_anew(pi: SshBoard, tmp_path: Path) -> None:
    said: list[str] = []

    def cut() -> None:
        pi.cut()
        (tmp_path / "go").touch()

    with connected() as connection:
        helper = _once_running(pi, cut)
        outcome = run_on_board(connection, Request(spec(tmp_path, _until(tmp_path / "go"))), said.append)
        helper.join()
    assert outcome.exit_code == 0
    assert any("connecting again" in line for line in said)
    assert Path(outcome.path, "workload.stdout").read_text() == "begun\nended\n"
    assert outcome.manifest["remote"]["clock"]["drift_ppm"] is not None


def test_a_run_is_waited_for_across_an_outage(pi: SshBoard, tmp_path: Path, no_pauses: None) -> None:
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if "no connection to pi" in line:  # the first try has failed
            pi.start()
            (tmp_path / "go").touch()

    with connected() as connection:
        helper = _once_running(pi, pi.stop)
        outcome = run_on_board(connection, Request(spec(tmp_path, _until(tmp_path / "go"))), say)
        helper.join()
    assert outcome.exit_code == 0
    assert sum("connecting again" in line for line in said) == 2
    assert Path(outcome.path, "workload.stdout").read_text() == "begun\nended\n"


def test_what_a_pulled_cable_leaves_is_pulled_later(
    pi: SshBoard, tmp_path: Path, capfd: pytest.CaptureFixture[str], no_pauses: None
) -> None:
    helper = _once_running(pi, pi.stop)
    words = ["--board", "pi", "-o", str(tmp_path / "runs"), "--collect", "procfs", "--no-report"]
    assert main(["run", *words, "--", *_until(tmp_path / "go", code=4)]) == 123
    helper.join()
    (tmp_path / "go").touch()
    told = capfd.readouterr().err
    assert "it goes on: `edgeprof board pull pi` fetches it" in told
    pi.start()
    assert main(["board", "pull", "pi", "--wait", "-o", str(tmp_path / "runs"), "--no-report", "--json"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("begun\nended\n")
    (fetched,) = json.loads(out.removeprefix("begun\nended\n"))["fetched"]
    assert fetched["exit_code"] == 4
    manifest = json.loads((Path(fetched["path"]) / "manifest.json").read_text())
    assert manifest["run"]["exit_code"] == 4
    assert manifest["remote"]["clock"]["drift_ppm"] is not None, "the reading before the run was kept"
    assert (Path(fetched["path"]) / "tables" / "process.parquet").is_file()
    assert [item.name for item in (tmp_path / "runs").iterdir()] == [Path(fetched["path"]).name]
    assert main(["board", "pull", "pi", "-o", str(tmp_path / "runs")]) == 0
    assert "nothing to fetch" in capfd.readouterr().err


def test_a_cut_in_mid_fetch_resumes_without_sending_a_byte_twice(pi: SshBoard, tmp_path: Path, no_pauses: None) -> None:
    """The board's end of the connection is killed after 200,000 bytes, as often as the desk tries."""
    body = """
        if name == "send" and os.path.exists(MARK):
            agent = subprocess.Popen([sys.executable, *sys.argv[1:]], stdout=subprocess.PIPE)
            left = 200_000
            while left > 0:
                block = os.read(agent.stdout.fileno(), min(left, 65536))
                say(block)
                left -= len(block)
            time.sleep(0.3)  # until ssh has sent it
            os.kill(os.getppid(), signal.SIGKILL)
            sys.exit()
    """
    board = Board("pi", "pi", stand_in(tmp_path, body))
    (tmp_path / "send").touch()
    command = ["sh", "-c", "head -c 2000000 /dev/urandom"]
    with connected(board) as connection:
        with pytest.raises(Lost, match="the run is kept there: `edgeprof board pull pi "):
            run_on_board(connection, Request(spec(tmp_path, command)), print)
        (folder,) = (tmp_path / "runs").iterdir()
        here = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "desk.json")
        assert 3 * 199_000 < here < 3 * 200_000
        (tmp_path / "send").unlink()
        connection.open()
        outcome = pull(
            connection, jobs.state(connection, folder.name.removeprefix(".fetching-")), tmp_path / "runs", _no, print
        )
    remote = outcome.manifest["remote"]
    assert remote["fetched_bytes"] == remote["bytes"] - here
    assert Path(outcome.path, "workload.stdout").stat().st_size == 2_000_000


def test_a_run_that_a_reboot_ended_is_fetched_as_interrupted(
    pi: SshBoard, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with connected() as connection:
        jobs.start(connection, "a" * 16, spec(tmp_path, FOREVER), None, 0)
    wait_until(lambda: list(pi.home.glob("jobs/*/capture/*/raw/procfs/samples.frames")), "the first samples")
    wait_until(lambda: next(pi.home.glob("jobs/*/capture/*/raw/procfs/samples.frames")).stat().st_size > 0, "them")
    pi.end_all()
    path = pi.home / "jobs" / ("a" * 16) / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({**state, "boot_id": "11111111-2222-3333-4444-555555555555"}))
    pi.start()
    words = ["-o", str(tmp_path / "runs"), "--no-report"]
    assert main(["board", "pull", "pi", *words]) == 0
    assert "started anew" in capfd.readouterr().err
    (run,) = (tmp_path / "runs").iterdir()
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["run"]["status"] == "interrupted"
    assert manifest["remote"]["state"] == "interrupted"
    reason = "there was no exchange before the run, and the board was started anew since"
    assert manifest["remote"]["clock"] == {"reason": reason}


def test_a_program_that_is_not_there_leaves_nothing(pi: SshBoard, tmp_path: Path) -> None:
    with connected() as connection:
        with pytest.raises((NoCapture, Refused), match="no-such-program") as caught:
            run_on_board(connection, Request(spec(tmp_path, ["no-such-program"])), print)
        assert caught.value.exit_code == 121
        assert jobs.jobs(connection) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_two_runs_do_not_share_a_board(pi: SshBoard, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with connected() as connection:
        jobs.start(connection, "b" * 16, spec(tmp_path, FOREVER), None, 0)
        words = ["run", "--board", "pi", "-o", str(tmp_path / "runs"), "--no-ingest"]
        assert main([*words, "--", "true"]) == 124
        assert f"{jobs.whoami()} has it" in capfd.readouterr().err
        assert list((tmp_path / "runs").iterdir()) == []
        assert main(["board", "check", "pi"]) == 0
        assert "reserved for a run of" in capfd.readouterr().err
        jobs.send_signal(connection, "b" * 16, "TERM")
        assert jobs.wait(connection, "b" * 16).signal == signal.SIGTERM
        jobs.forget(connection, "b" * 16)


def test_ctrl_c_ends_the_workload_and_fetches_what_there_is(pi: SshBoard, tmp_path: Path) -> None:
    process = _started(tmp_path, "trap 'echo told; exit 9' INT; echo begun; while :; do sleep 0.1; done")
    state = _begun(pi, process)
    os.killpg(process.pid, signal.SIGINT)  # to all of the group, as the terminal does
    out, err = process.communicate(timeout=60)
    assert process.returncode == 9, err
    assert out == "begun\ntold\n"
    assert "asking the board to end the workload" in err
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "manifest.json").read_text())["remote"]["job"] == state["job"]


def test_ctrl_c_just_as_the_run_has_begun_ends_it_too(
    pi: SshBoard, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = jobs.start

    def start_and_interrupt(*words: Any) -> None:
        start(*words)
        wait_until(lambda: running(pi), "the run", 60)
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "start", start_and_interrupt)
    script = "trap 'exit 9' INT; echo begun; while :; do sleep 0.1; done"
    words = ["run", "--board", "pi", "-o", str(tmp_path / "runs"), "--no-ingest", "--", "sh", "-c", script]
    assert main(words) == 9
    assert "asking the board to end the workload" in capfd.readouterr().err
    (run,) = (tmp_path / "runs").iterdir()
    assert json.loads((run / "manifest.json").read_text())["run"]["status"] == "finished"


def test_a_second_ctrl_c_leaves_the_run_on_the_board(pi: SshBoard, tmp_path: Path) -> None:
    process = _started(tmp_path, "trap '' INT; echo begun; while :; do sleep 0.1; done")
    state = _begun(pi, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.stderr is not None
    said = _read_until(process, "Ctrl-C again")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, said + err
    assert f"the run goes on there; `edgeprof board pull pi {state['job']}` fetches it later" in err
    assert running(pi)


def test_ctrl_c_while_a_reserved_board_is_waited_for_leaves_nothing(pi: SshBoard, tmp_path: Path) -> None:
    with connected() as connection:
        jobs.start(connection, "b" * 16, spec(tmp_path, FOREVER), None, 0)
        process = _started(tmp_path, "echo never", "--board-wait", "600")
        wait_until(lambda: len(list(pi.home.glob("jobs/*/stderr"))) == 2, "who waits", 60)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err == "edgeprof: board pi: interrupted; nothing was started there\n"
        assert list((tmp_path / "runs").iterdir()) == []
        assert [state.job for state in jobs.jobs(connection)] == ["b" * 16]


def test_a_desk_that_is_killed_leaves_the_run_alone_and_no_ssh_behind(pi: SshBoard, tmp_path: Path) -> None:
    process = _started(tmp_path, f"echo begun; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done")
    _begun(pi, process)
    holding = [
        pid for pid in children_of(process.pid) if b"ControlMaster=yes" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    process.kill()
    process.communicate()
    (tmp_path / "go").touch()
    assert len(holding) == 1
    wait_until(lambda: not alive(holding[0]), "the end of its connection")
    with connected() as connection:
        (state,) = jobs.jobs(connection)
        assert jobs.wait(connection, state.job).exit_code == 0
        jobs.forget(connection, state.job)


def test_a_board_that_falls_silent_can_be_left(pi: SshBoard, tmp_path: Path) -> None:
    process = _started(tmp_path, "echo begun; while :; do sleep 0.1; done")
    state = _begun(pi, process)
    pi.freeze()
    os.killpg(process.pid, signal.SIGINT)
    _read_until(process, "Ctrl-C again")
    os.killpg(process.pid, signal.SIGINT)
    began = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert time.monotonic() - began < 15
    assert f"edgeprof board pull pi {state['job']}" in err


def _started(tmp_path: Path, script: str, *options: str) -> subprocess.Popen[str]:
    words = ["run", "--board", "pi", "-o", str(tmp_path / "runs"), "--collect", "procfs", "--no-ingest", *options, "--"]
    return subprocess.Popen(
        [sys.executable, "-m", "edgeprof.cli.main", *words, "sh", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _until(go: Path, code: int = 0) -> list[str]:
    """A workload that ends when a file is there."""
    script = 'echo begun; while [ ! -e "$0" ]; do sleep 0.1; done; echo ended; exit "$1"'
    return ["sh", "-c", script, str(go), str(code)]


def _once_running(board: SshBoard, do: Callable[[], object]) -> threading.Thread:
    """Does something when the workload runs and the desk waits for its end; join it."""

    def waited_for() -> bool:
        try:
            return any(b"\0wait\0" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in board.processes())
        except OSError:  # one has just ended
            return False

    def work() -> None:
        wait_until(lambda: running(board), "the run", 60)
        wait_until(waited_for, "who waits for it")
        do()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def _begun(board: SshBoard, process: subprocess.Popen[str]) -> dict[str, Any]:
    """The state of the run that edgeprof has started, once its workload runs."""

    def look() -> dict[str, Any] | None:
        assert process.poll() is None, process.communicate()
        return running(board)

    state = wait_until(look, "the run", 60)
    assert state is not None
    return state


def _read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stderr is not None
    said = ""
    while text not in said:
        line = process.stderr.readline()
        assert line, said
        said += line
    return said


def _no(name: str, path: Path) -> None:
    """Print nothing."""


@contextmanager
def relay(target: int) -> Iterator[tuple[int, list[float]]]:
    """A port that passes all on to another one; the times at which something passed, by CLOCK_MONOTONIC."""
    seen: list[float] = []
    listener = socket.create_server(("127.0.0.1", 0))
    stop, wake = socket.socketpair()

    def work() -> None:
        pairs: dict[socket.socket, socket.socket] = {}
        while True:
            ready, _, _ = select.select([listener, stop, *pairs], [], [])
            if stop in ready:
                break
            for item in ready:
                if item is listener:
                    inner, outer = listener.accept()[0], socket.create_connection(("127.0.0.1", target))
                    pairs[inner], pairs[outer] = outer, inner
                elif item in pairs:
                    data = item.recv(1 << 16)
                    seen.append(time.monotonic())
                    if data:
                        pairs[item].sendall(data)
                    else:
                        other = pairs.pop(item)
                        pairs.pop(other, None)
                        item.close()
                        other.close()
        for item in pairs:
            item.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        yield int(listener.getsockname()[1]), seen
    finally:
        wake.close()
        worker.join()
        listener.close()
        stop.close()
