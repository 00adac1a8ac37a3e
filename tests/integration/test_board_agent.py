"""The agent's zipapp as a process of this machine, without a connection: a job's whole life, and all that cuts it."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from edgeprof import __version__
from edgeprof.profiler.agent.remote_files import can_be_sent, listing, paths
from edgeprof.profiler.agent.remote_follow import follow
from edgeprof.profiler.agent.remote_job import Job
from edgeprof.profiler.board.errors import Nonsense
from edgeprof.profiler.board.fetch import safe_path
from edgeprof.profiler.ingest import ingest
from tests.board_agent import Agent, announced, parts, tar_of
from tests.helpers import alive, wait_until

UNTIL_TERM = """
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print("to the desk", flush=True)
sys.stderr.write("odd")
signal.sigwait({signal.SIGTERM})
sys.exit(6)
"""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    found = Agent(tmp_path)
    yield found
    found.close()


def test_it_says_who_it_is_and_reads_its_clocks(agent: Agent) -> None:
    agent.base = agent.base.rename(agent.base.with_name('a "home" of Ω\U0001f680\\'))
    hello = agent.call("hello")
    assert (hello["protocol"], hello["edgeprof"]) == (1, __version__)
    assert hello["home"] == str(agent.home)
    assert hello["machine"] == os.uname().machine
    assert hello["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert hello["free_bytes"] > 0
    assert not agent.home.exists()  # saying hello changes nothing
    with agent.popen("clock") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            before = time.monotonic_ns()
            process.stdin.write(b"?\n")
            process.stdin.flush()
            monotonic, realtime, boottime = map(int, process.stdout.readline().split())  # at once, not at the end
            assert before <= monotonic <= time.monotonic_ns()
            assert abs(realtime - time.time_ns()) < 10**9
            assert boottime >= monotonic
        process.stdin.close()
        assert process.wait(20) == 0


def test_it_examines_the_machine(agent: Agent) -> None:
    found = agent.call("examine")
    assert {item["name"] for item in found["collectors"]} >= {"procfs", "cgroup", "block", "power"}
    assert found["host"]["kernel"] == os.uname().release
    assert found["machine"]


def test_the_whole_life_of_a_job(agent: Agent) -> None:
    assert agent.start("one", agent.python, "-c", UNTIL_TERM) == {"job": "one"}
    wait_until(lambda: (agent.job("one") / "stdout").stat().st_size, "the workload's start")
    state = agent.call("state", "one")
    assert state["state"] == "running"
    assert alive(state["pid"])
    assert agent.call("who") == {"held": True, "owner": "tester@desk", "job": "one", "since": state["started"]}
    refused = agent.start("two", "true")
    assert refused["exit_code"] == 124
    assert "tester@desk has it since" in refused["error"]
    assert agent.call("forget", "one")["error"] == "the job one goes on; end it first"
    assert "already" in agent.start("one", "true")["error"]
    agent.call("signal", "one", "TERM")

    over = agent.call("wait", "one")
    assert (over["state"], over["exit_code"], over["signal"], over["error"]) == ("ended", 6, None, None)
    assert (over["protocol"], over["job"], over["owner"]) == (1, "one", "tester@desk")
    assert agent.call("state", "one") == over
    assert agent.lines("jobs") == [over]
    assert agent.call("who")["held"] is False

    *files, total = agent.lines("files", "one")
    assert total == {"files": len(files), "bytes": sum(item["size"] for item in files), "unreadable": 0}
    by_path = {item["path"]: item for item in files}
    assert {"stdout", "stderr", f"capture/{over['capture']}/manifest.json"} <= set(by_path)
    for path, item in by_path.items():
        content = (agent.job("one") / path).read_bytes()
        assert (item["size"], item["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    sent = agent.fetch("one", *((path, 0) for path in by_path), ("stdout", 3), ("stdout", 1000))
    for (head, content), path in zip(sent, by_path, strict=False):
        assert head == {"path": path, "offset": 0, "size": len(content)}
        assert hashlib.sha256(content).hexdigest() == by_path[path]["sha256"]
    assert [content for _, content in sent[-2:]] == [b"to the desk\n"[3:], b""]
    assert (agent.job("one") / "stderr").read_bytes() == b"odd"

    run = ingest(agent.job("one") / "capture" / over["capture"])
    assert run.manifest["run"]["exit_code"] == 6
    assert run.manifest["edgeprof"] == __version__
    assert run.arrow("process").num_rows > 1
    assert agent.call("forget", "one") == {"forgotten": True}
    assert agent.lines("jobs") == []
    assert list(agent.job("one").parent.iterdir()) == []
    assert agent.call("state", "one")["error"] == "there is no job one on this board"


def test_a_job_waits_for_the_machine_and_a_desk_that_leaves_meanwhile_leaves_nothing(agent: Agent) -> None:
    agent.start("first", "sleep", "60")
    with agent.popen("start") as gone:
        assert gone.stdin is not None
        assert gone.stdout is not None
        gone.stdin.write(json.dumps(agent.request("gone", "true", wait=60)).encode() + b"\n")
        gone.stdin.flush()
        wait_until((agent.job("gone") / "stderr").exists, "the second job's process")
        gone.stdout.close()
        assert gone.wait(20) == 3
    assert not agent.job("gone").exists()
    with agent.popen("start") as patient:
        assert patient.stdin is not None
        patient.stdin.write(json.dumps(agent.request("second", "true", wait=60)).encode() + b"\n")
        patient.stdin.flush()
        wait_until((agent.job("second") / "stderr").exists, "the third job's process")
        assert agent.call("signal", "first", "TERM") == {"sent": True}
        output, _ = patient.communicate(timeout=30)
    assert json.loads(output) == {"job": "second"}
    assert agent.call("wait", "first")["signal"] == signal.SIGTERM
    assert agent.call("wait", "second")["exit_code"] == 0


def test_a_desk_that_leaves_before_the_job_has_a_process_leaves_nothing(agent: Agent) -> None:
    with agent.popen("start") as gone:
        assert gone.stdin is not None
        assert gone.stdout is not None
        gone.stdout.close()
        gone.stdin.write(json.dumps(agent.request("gone", "true")).encode() + b"\n")
        gone.stdin.close()
        assert gone.wait(20) == 3
    assert agent.lines("jobs") == []
    assert agent.call("who")["held"] is False


@pytest.mark.parametrize(
    ("name", "command", "expected"),
    [
        (
            "INT",
            "import time\ntry: print(1, flush=True); time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(9)",
            9,
        ),
        ("KILL", "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True); time.sleep(60)", -9),
    ],
)
def test_a_signal_reaches_the_workload_and_the_capture_is_whole(
    agent: Agent, name: str, command: str, expected: int
) -> None:
    agent.start("one", agent.python, "-c", command)
    wait_until(lambda: (agent.job("one") / "stdout").stat().st_size, "the workload's start")
    assert "cannot be sent" in agent.call("signal", "one", "NONE")["error"]
    assert agent.call("signal", "one", name) == {"sent": True}
    over = agent.call("wait", "one")
    assert over["state"] == "ended"
    assert (over["exit_code"], over["signal"]) == ((expected, None) if expected > 0 else (None, -expected))
    assert (agent.job("one") / "capture" / over["capture"] / "manifest.json").exists()
    assert agent.call("signal", "one", name)["error"] == "the job one is over"


def test_a_signal_that_comes_before_the_capture_has_begun_is_not_lost(agent: Agent) -> None:
    agent.start("one", "sleep", "60")
    os.kill(agent.call("state", "one")["pid"], signal.SIGTERM)
    over = agent.call("wait", "one")
    assert (over["state"], over["signal"], over["error"]) == ("ended", signal.SIGTERM, None)


def test_a_job_outlives_its_desk_and_what_it_leaves_running_keeps_nobody_waiting(agent: Agent) -> None:
    with agent.popen("start", start_new_session=True) as process:
        left = "sleep 50 & echo $!; sleep 0.5"
        output, _ = process.communicate(json.dumps(agent.request("one", "sh", "-c", left)).encode(), timeout=30)
        assert json.loads(output) == {"job": "one"}
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, signal.SIGHUP)  # nothing of the job is in the session that the desk opened
    began = time.monotonic()
    assert agent.call("wait", "one")["state"] == "ended"
    assert time.monotonic() - began < 20
    (daemon,) = map(int, (agent.job("one") / "stdout").read_text().split())
    assert alive(daemon)
    os.kill(daemon, signal.SIGKILL)
    assert agent.call("who")["held"] is False


def test_an_agent_that_is_killed_and_a_board_that_is_started_anew(agent: Agent) -> None:
    agent.start("one", "sleep", "60")
    wait_until(lambda: list(agent.job("one").glob("capture/*/manifest.partial.json")), "the capture's start")
    state = agent.call("state", "one")
    waiting = agent.popen("wait", "one")
    os.kill(state["pid"], signal.SIGKILL)
    output, _ = waiting.communicate(timeout=30)
    told = json.loads(output)
    assert (told["state"], told["error"]) == ("interrupted", "the agent on the board was killed")
    assert agent.call("who")["held"] is False  # the text of the dead one is still in the file
    assert "tester" in (agent.base / "locks" / "edgeprof.lock").read_text()
    assert agent.call("signal", "one", "TERM")["error"] == "the job one is over"
    agent.close()

    path = agent.job("one") / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "boot_id": "another"}))
    told = agent.call("state", "one")
    assert (told["state"], told["error"]) == ("interrupted", "the board was started anew")
    *files, _ = agent.lines("files", "one")
    assert f"capture/{told['capture']}/manifest.partial.json" in [item["path"] for item in files]
    assert not [item for item in files if item["path"].endswith(".reserve")]
    run = ingest(agent.job("one") / "capture" / told["capture"])
    assert run.manifest["run"]["status"] == "interrupted"
    path.write_text("{")
    assert "is damaged" in agent.call("state", "one")["error"]
    assert agent.call("forget", "one") == {"forgotten": True}


def test_a_request_that_is_no_json_object_is_refused(agent: Agent) -> None:
    for request in (b"", b"[" * 100_000, b"x" * (2 << 20)):
        (answer,) = agent.lines("start", stdin=request)
        assert answer["error"].startswith("the request is")


def test_a_program_that_is_missing_is_told_by_the_jobs_state(agent: Agent) -> None:
    over = agent.run("one", "no-such-program")
    assert (over["state"], over["exit_code"], over["capture"]) == ("failed", 121, None)
    assert "no such program" in over["error"]


def test_an_unmodified_program_is_instrumented_from_within_the_zip_file(agent: Agent) -> None:
    """``auto`` puts hooks on PYTHONPATH, which the agent has to lay down as files."""
    over = agent.run(
        "one", agent.python, "-c", "import sitecustomize; print(sitecustomize._INJECT)", auto=True, collect=["phases"]
    )
    assert over["exit_code"] == 0
    manifest = json.loads((agent.job("one") / "capture" / over["capture"] / "manifest.json").read_text())
    assert manifest["collectors"][0]["details"]["pythons"] == 1
    assert Path((agent.job("one") / "stdout").read_text().strip()).is_relative_to(agent.home)


def test_modules_are_compiled_once_and_a_board_where_that_fails_goes_on_without(agent: Agent) -> None:
    first = agent.run("one", "true")
    assert first["state"] == "ended"
    (compiled,) = (agent.home / "agents").iterdir()
    assert list(compiled.rglob("capture.*.pyc"))
    before = {path: path.stat().st_mtime_ns for path in compiled.rglob("*")}
    assert agent.run("two", "true")["state"] == "ended"
    assert {path: path.stat().st_mtime_ns for path in compiled.rglob("*")} == before
    shutil.rmtree(compiled)
    compiled.parent.rmdir()
    compiled.parent.touch()  # no folder can be made there
    assert agent.run("three", "true")["state"] == "ended"


def test_only_a_jobs_own_regular_files_are_sent(agent: Agent, tmp_path: Path) -> None:
    over = agent.run("one", "true")
    capture = agent.job("one") / "capture" / over["capture"]
    (tmp_path / "secret").write_text("secret")
    (capture / "link").symlink_to(tmp_path / "secret")
    (capture / "folder").symlink_to(tmp_path)
    os.mkfifo(capture / "pipe")
    listed = [item["path"] for item in agent.lines("files", "one")[:-1]]
    assert not [path for path in listed if path.endswith(("link", "folder", "pipe", "secret"))]
    prefix = f"capture/{over['capture']}"
    hostile = [
        f"{prefix}/link", f"{prefix}/folder/secret", f"{prefix}/pipe", f"{prefix}/../../state.json", prefix,
        "state.json", "lock", "", "/etc/passwd", "../../agent.pyz", "stdout/x", f"{prefix}/no", "capture//x", "a\0b",
    ]  # fmt: skip
    answers = agent.fetch("one", *((path, 0) for path in hostile))
    assert len(answers) == len(hostile)
    for head, content in answers:
        assert (head["size"], content) == (0, b"")
        assert head["error"]
    assert "needs a 'path'" in agent.lines("send", "one", stdin=b'{"path": 1}\n')[0]["error"]


@pytest.fixture
def left() -> Iterator[Path]:
    """A job's folder that every user may list, with a capture of two files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "capture" / "run" / "raw").mkdir(parents=True)
        for path in ("stdout", "capture/run/manifest.json", "capture/run/raw/a"):
            (folder / path).write_bytes(b"x")
        folder.chmod(0o755)
        yield folder


@contextmanager
def another_user() -> Iterator[None]:
    os.seteuid(12345)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.root
def test_what_the_agent_may_not_read_is_counted(left: Path) -> None:
    (left / "capture/run/raw/a").chmod(0o600)
    (left / "capture/run/closed").mkdir(0o700)
    with another_user():
        found, left_out = paths(str(left))
        listed = {item["path"]: item["sha256"] for item in listing(str(left), found)}
    assert left_out == 1, "the folder"
    assert sorted(listed) == ["capture/run/manifest.json", "capture/run/raw/a", "stdout"]
    assert [path for path, digest in listed.items() if digest is None] == ["capture/run/raw/a"]


@pytest.mark.root
def test_what_the_agent_may_not_read_does_not_end_the_live_display(
    left: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    job = Job("one")
    job.folder = str(left)
    job.write_state(state="ended")
    (left / "lock").touch()
    (left / "capture/run/manifest.json").chmod(0o600)
    with another_user(), os.fdopen(os.dup(1), "wb") as output:
        follow(job, output)
    *sent, (end, _) = parts(capfdbinary.readouterr().out)
    assert [head["path"] for head, _ in sent] == ["capture/run/raw/a", "stdout"]
    assert end["end"]["state"] == "ended"


def test_more_files_than_the_desk_takes_are_left_out_and_counted(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprof.profiler.agent.remote_files.MOST_FILES", 3)
    (left / "capture/run/raw/deep").mkdir()
    for number in range(10):
        (left / f"capture/run/raw/deep/{number}").touch()
    assert paths(str(left)) == (["capture/run/manifest.json", "capture/run/raw/a", "stdout"], 10)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("stdout", True),
        ("capture/run/manifest.json", True),
        ("capture/run/1/2/3/4/5/6", True),
        ("capture/run/1/2/3/4/5/6/7", False),
        ("capture/run", False),
        ("stdout/x", False),
        ("state.json", False),
        ("capture/run/ü", True),
        ("capture/run/a\nb", False),
        ("capture/run/\udcff", False),
        ("capture/run/" + "n" * 256, False),
        ("capture/../x", False),
        ("capture//x", False),
    ],
)
def test_agent_and_desk_agree_on_what_can_be_sent(path: str, expected: bool) -> None:
    assert can_be_sent(path) is expected
    with nullcontext() if expected else pytest.raises(Nonsense):
        assert str(safe_path("pi", path)) == path


def test_a_desk_that_watches_gets_what_is_appended(agent: Agent) -> None:
    agent.start("one", "sh", "-c", "echo first; sleep 1.6; echo second")
    began = time.monotonic()
    stream = parts(agent.raw("follow", "one"))
    assert time.monotonic() - began < 20
    (end, _) = stream.pop()
    assert end["end"] == agent.call("state", "one")
    files: dict[str, bytes] = {}
    for head, content in stream:
        assert head["offset"] == len(files.get(head["path"], b""))
        files[head["path"]] = files.get(head["path"], b"") + content
    assert len([head for head, _ in stream if head["path"] == "stdout"]) == 2
    for item in agent.lines("files", "one")[:-1]:
        assert hashlib.sha256(files.get(item["path"], b"")).hexdigest() == item["sha256"]


# -- a folder from the desk ----------------------------------------------------------------------------------

FILES = {
    "train.py": b"print('hello from the board')\n",
    "data/a.bin": bytes(3 << 20),
    "run.sh": b"#!/bin/sh\n",
    "e": b"",
}


def test_a_folder_is_received_and_then_only_what_changed(agent: Agent) -> None:
    first, done = agent.send_folder("app", FILES)
    folder = agent.home / "sync" / "app"
    assert first == {"missing": sorted(FILES)}
    assert done == {"folder": str(folder)}
    assert {path: (folder / path).read_bytes() for path in FILES} == FILES
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o755
    (folder / "made-there").write_text("by a run")

    over = agent.run("one", agent.python, "train.py", cwd="app")
    assert over["exit_code"] == 0
    assert (agent.job("one") / "stdout").read_bytes() == b"hello from the board\n"

    assert agent.send_folder("app", FILES, b"")[0] == {"missing": []}
    (folder / "train.py").touch()  # another time of change, the same content
    assert agent.send_folder("app", FILES, b"")[0] == {"missing": []}
    changed = {"train.py": b"print(2)\n", "data/a.bin": FILES["data/a.bin"]}
    first, _ = agent.send_folder("app", changed, tar_of({"train.py": changed["train.py"]}))
    assert first == {"missing": ["train.py"]}
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == {"train.py", "data/a.bin", "made-there"}
    assert (folder / "train.py").read_bytes() == changed["train.py"]
    turned = {"data": b"a file now", "train.py/__init__.py": b"a folder now"}
    assert agent.send_folder("app", turned)[1] == {"folder": str(folder)}
    assert {path: (folder / path).read_bytes() for path in turned} == turned


def test_a_folder_in_which_a_job_works_stays_as_it_is(agent: Agent) -> None:
    agent.send_folder("app", FILES)
    agent.start("one", "sleep", "60", cwd="app")
    (refused,) = agent.send_folder("app", {"train.py": b"changed"})
    assert refused["error"].startswith("the job one works in ")
    agent.call("signal", "one", "TERM")
    agent.call("wait", "one")


def test_a_stream_that_is_not_what_was_announced_changes_nothing(agent: Agent) -> None:
    agent.send_folder("app", FILES)
    first, refused = agent.send_folder("app", {"e": b"new"}, tar_of({"../../jobs/e": b"new"}))
    assert first == {"missing": ["e"]}
    assert refused["error"] == "the stream holds '../../jobs/e', which was not announced"
    assert (agent.home / "sync" / "app" / "train.py").read_bytes() == FILES["train.py"]
    with agent.popen("receive", "app") as process:  # as when the cable is cut
        stream = json.dumps(announced({"e": bytes(2 << 20)})).encode() + b"\n" + tar_of({"e": bytes(2 << 20)})
        output, _ = process.communicate(stream[: 1 << 20], timeout=30)
    assert "cut or damaged" in json.loads(output.splitlines()[1])["error"]
    assert (agent.home / "sync" / "app" / "e").read_bytes() == b""


# -- a full disk ---------------------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """A file system of its own at ``path``."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def fill(folder: Path) -> None:
    """Leave no free block."""
    with (folder / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        file.writelines(itertools.repeat(bytes(4096)))


@pytest.mark.root
def test_a_disk_that_is_full_is_one_sentence_and_leaves_nothing(agent: Agent) -> None:
    with small_disk(agent.home, "1m"):
        fill(agent.home)
        for answer in (agent.start("one", "true"), agent.send_folder("app", {"a": bytes(50_000)})[-1]):
            assert answer["exit_code"] == 122
            assert "is full" in answer["error"] or "are free" in answer["error"]
        assert agent.lines("jobs") == []


@pytest.mark.root
def test_a_disk_that_fills_up_in_mid_run_still_tells_how_the_job_ended(agent: Agent) -> None:
    with small_disk(agent.home, "6m"):
        over = agent.run("one", "sh", "-c", f"cat /dev/zero > {agent.home}/filler; sync; exit 4")
        assert over == agent.call("state", "one")
        assert (over["state"], over["exit_code"]) == ("ended", 4)
        *files, total = agent.lines("files", "one")
        assert total["files"] == len(files) > 3
        assert agent.call("forget", "one") == {"forgotten": True}
