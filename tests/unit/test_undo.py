"""Undoing a journal: newest first, repeatable, and nothing of a run that still goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprof.collectors.helper import start_time
from edgeprof.profiler.agent import undo as module
from edgeprof.profiler.agent.journal import UndoJournal, boot_id
from edgeprof.profiler.agent.undo import clean, descendants, same_process, undo, undo_all
from tests.helpers import alive, end, wait_until

DEAD = {"owner": 1 << 22, "start_time": 1, "boot_id": boot_id(), "capture": "/captures/dead"}
"""An owner that does not live."""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process to end."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def journal(folder: Path, *entries: dict[str, Any], **owner: Any) -> Path:
    """A journal that a dead edgeprof left."""
    folder.mkdir(exist_ok=True)
    path = folder / "run.journal"
    lines = [{**DEAD, **owner}, *({"n": number, **entry} for number, entry in enumerate(entries, 1))]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_newest_first_and_gone_is_undone(tmp_path: Path) -> None:
    file = tmp_path / "knob"
    file.write_text("now")
    (tmp_path / "group").mkdir()
    (tmp_path / "instance").mkdir()
    entries = (
        {"kind": "write", "path": str(file), "old": "first"},
        {"kind": "write", "path": str(file), "old": "second"},
        {"kind": "read_ahead", "path": str(file), "old": "128", "numbers": [1], "open_files": False},
        {"kind": "cgroup", "path": str(tmp_path / "group"), "home": str(tmp_path)},
        {"kind": "tracefs_instance", "path": str(tmp_path / "instance")},
        {"kind": "write", "path": str(tmp_path / "missing"), "old": "x"},
        {"kind": "read_ahead", "path": str(tmp_path / "missing"), "old": "128", "numbers": [1]},
        {"kind": "cgroup", "path": str(tmp_path / "missing")},
        {"kind": "tracefs_instance", "path": str(tmp_path / "missing")},
    )
    path = journal(tmp_path / "state", *entries)
    result = clean(str(tmp_path / "state"))
    assert (result.failed, result.running) == ([], [])
    assert len(result.undone) == 8
    assert result.undone[0] == f"removed tracing instance {tmp_path}/missing"
    assert file.read_text().startswith("first")
    assert not (tmp_path / "group").exists()
    assert not (tmp_path / "instance").exists()
    assert not path.exists()
    assert clean(str(tmp_path / "state")) == ([], [], [])


def test_what_fails_is_named_and_its_journal_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    busy = tmp_path / "busy"
    (busy / "file").parent.mkdir()
    (busy / "file").touch()
    (tmp_path / "free").mkdir()
    path = journal(
        tmp_path / "state",
        {"kind": "cgroup", "path": str(tmp_path / "free")},
        {"kind": "cgroup", "path": str(busy)},
        {"kind": "future", "path": "/x"},
        {"kind": "write", "path": 7},
        {"kind": "process"},
        {"kind": "process", "pid": "seven", "start_time": 1},
    )
    result = clean(str(tmp_path / "state"))
    assert result.undone == [f"removed cgroup {tmp_path}/free"]
    assert len(result.failed) == 5
    assert f"could not undo cgroup {busy}: Directory not empty" in result.failed
    assert "could not undo future /x: this edgeprof does not know how to undo 'future'" in result.failed
    assert sum("damaged journal entry" in sentence for sentence in result.failed) == 3
    assert path.exists()


def test_a_living_edgeprof_is_left_alone(tmp_path: Path) -> None:
    knob = tmp_path / "knob"
    knob.write_text("changed")
    own = UndoJournal(str(tmp_path), "mine", "/captures/mine")
    own.record("write", path=str(knob), old="before")
    result = clean(str(tmp_path), kill=True)
    assert result == ([], [], [f"/captures/mine belongs to process {os.getpid()}, which still runs"])
    assert knob.read_text() == "changed"
    own.remove()


def test_an_edgeprof_that_nobody_waited_for_does_not_live(tmp_path: Path) -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    journal(tmp_path, owner=child, start_time=start_time(child))
    assert clean(str(tmp_path)).running == []
    os.waitpid(child, 0)


def test_another_process_of_the_same_number_is_not_the_owner(tmp_path: Path) -> None:
    path = journal(tmp_path, owner=os.getpid(), start_time=start_time(os.getpid()) - 1)
    assert clean(str(tmp_path)).running == []
    assert not path.exists()


def test_after_a_reboot_there_is_nothing_to_undo(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    entry = {"kind": "process", "pid": sleeper.pid, "start_time": start_time(sleeper.pid)}
    path = journal(tmp_path, entry, boot_id="another boot")
    assert clean(str(tmp_path)) == ([], [], [])
    assert not path.exists()
    assert sleeper.poll() is None


def test_journals_without_an_owner_and_begun_ones_of_the_dead_are_removed(tmp_path: Path) -> None:
    (tmp_path / "cut.journal").write_text('{"own')
    (tmp_path / ".run-1.4194304-17.tmp").touch()
    mine = tmp_path / f".run-2.{os.getpid()}-{start_time(os.getpid())}.tmp"
    mine.touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".odd.tmp").touch()
    assert clean(str(tmp_path)) == ([], [], [])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([".odd.tmp", mine.name, "notes.txt"])


def test_a_journal_that_cannot_be_read_does_not_stop_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.journal").mkdir()
    path = journal(tmp_path, {"kind": "write", "path": "/none", "old": ""})
    result = clean(str(tmp_path))
    assert result.failed == [f"cannot read the undo journal {tmp_path}/a.journal: Is a directory"]
    assert not path.exists()


# -- processes -----------------------------------------------------------------------------------------------


def test_a_helper_tool_is_ended(sleeper: subprocess.Popen[bytes]) -> None:
    entry = {"n": 1, "kind": "process", "pid": sleeper.pid, "start_time": start_time(sleeper.pid)}
    assert undo(entry) == f"ended helper process {sleeper.pid}"
    assert sleeper.wait() == -signal.SIGTERM
    assert undo(entry) == ""


def test_a_helper_tool_that_ignores_it_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE) as stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.read(1)
        undo({"n": 1, "kind": "process", "pid": stubborn.pid, "start_time": start_time(stubborn.pid)})
        assert stubborn.wait() == -signal.SIGKILL


def test_another_process_of_that_number_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    entry = {"n": 1, "kind": "process", "pid": sleeper.pid, "start_time": start_time(sleeper.pid) + 1}
    assert undo(entry) == ""
    assert undo({**entry, "kind": "workload", "kill": True}) == ""
    assert sleeper.poll() is None


def test_a_workload_goes_on_unless_it_is_to_be_killed() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"]) as workload:
        children = wait_until(lambda: descendants(workload.pid)[2:], "the children")
        entry = {"n": 1, "kind": "workload", "pid": workload.pid, "start_time": start_time(workload.pid)}
        assert undo_all([entry]) == ([], [])
        assert workload.poll() is None
        assert undo({**entry, "kill": True}) == f"killed the workload {workload.pid}"
        assert workload.wait() == -signal.SIGKILL
        wait_until(lambda: not any(map(alive, children)), "the end of the children")
        end(children)


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_numbers_that_mean_many_processes_are_never_signalled(monkeypatch: pytest.MonkeyPatch, pid: int) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    monkeypatch.setattr(module, "same_process", lambda pid, started: True)
    with pytest.raises(OSError, match="damaged journal entry"):
        undo({"n": 1, "kind": "process", "pid": pid, "start_time": 1})
    assert sent == []


def test_same_process_needs_number_and_start() -> None:
    assert same_process(os.getpid(), start_time(os.getpid()))
    assert not same_process(os.getpid(), start_time(os.getpid()) + 1)
    assert not same_process(1 << 22, 1)


# -- controllers ---------------------------------------------------------------------------------------------


def test_controllers_are_switched_off_by_the_last_run(tmp_path: Path) -> None:
    control = tmp_path / "cgroup.subtree_control"
    control.write_text("")
    entry = {"n": 1, "kind": "controllers", "path": str(tmp_path), "names": ["io", "memory"]}
    (tmp_path / "edgeprof-other").mkdir()
    assert undo(entry) == ""
    assert control.read_text() == ""
    (tmp_path / "edgeprof-other").rmdir()
    assert undo(entry) == f"switched controllers io, memory off in {tmp_path}"
    assert control.read_text() == "-io -memory"


@pytest.mark.root
def test_a_mount_is_undone_once(tmp_path: Path) -> None:
    target = tmp_path / "mounted"
    target.mkdir()
    made = ["mount", "-t", "tmpfs", "tmpfs", str(target)]
    if subprocess.run(made, capture_output=True).returncode:
        pytest.skip("cannot mount here: run the tests in a privileged container")
    entry = {"n": 1, "kind": "mount", "target": str(target)}
    assert undo(entry) == f"unmounted {target}"
    assert not os.path.ismount(target)
    assert undo(entry) == f"unmounted {target}"
    target.rmdir()
    assert undo(entry) == f"unmounted {target}"
