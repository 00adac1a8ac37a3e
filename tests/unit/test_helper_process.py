"""Tools beside the workload: journalled, heard to their end, and gone when their starter is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprof.collectors.helper import HelperProcess, ask, find_program, start_time
from tests.helpers import ROOT, alive, wait_until


class Journal:
    """A journal in memory; it may refuse."""

    def __init__(self, full: bool = False) -> None:
        self.entries: dict[int, dict[str, Any]] = {}
        self.full = full

    def record(self, kind: str, **details: Any) -> int:
        if self.full:
            self.entries[0] = details
            raise OSError(28, "No space left on device")
        self.entries[len(self.entries) + 1] = {"kind": kind, **details}
        return len(self.entries)

    def done(self, number: int) -> None:
        del self.entries[number]


def test_a_tool_is_journalled_until_it_has_ended(tmp_path: Path) -> None:
    journal = Journal()
    tool = HelperProcess(["sh", "-c", "echo out; echo err >&2; sleep 600"], journal, stdout=str(tmp_path / "out"))
    assert journal.entries == {1: {"kind": "process", "pid": tool.pid, "start_time": start_time(tool.pid)}}
    assert tool.alive()
    wait_until((tmp_path / "out").read_text, "its output")
    assert tool.stop(signal.SIGTERM) == -signal.SIGTERM
    assert tool.stop() == -signal.SIGTERM
    assert not tool.alive()
    assert journal.entries == {}
    assert (tmp_path / "out").read_text() == "out\n"
    assert tool.cpu_seconds >= 0


def test_a_tool_that_ends_by_itself_has_its_code() -> None:
    tool = HelperProcess(["sh", "-c", "exit 7"])
    wait_until(lambda: not tool.alive(), "its end")
    assert tool.stop() == 7


def test_a_tool_that_will_not_end_is_killed() -> None:
    reading, writing = os.pipe()
    tool = HelperProcess(["sh", "-c", "trap '' INT; echo ready; while :; do sleep 0.1; done"], stdout=writing)
    os.close(writing)
    assert os.read(reading, 10) == b"ready\n"
    os.close(reading)
    assert tool.stop(signal.SIGINT, timeout=0.1) == -signal.SIGKILL


def test_a_tool_that_cannot_be_journalled_does_not_run() -> None:
    journal = Journal(full=True)
    with pytest.raises(OSError, match="No space left"):
        HelperProcess(["sleep", "600"], journal)
    assert not alive(journal.entries[0]["pid"])


def test_a_program_that_is_missing_raises_and_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            HelperProcess(["no-such-program"], stdout=str(tmp_path / "out"))
        with pytest.raises(OSError, match="No such file"):
            HelperProcess(["true"], stdout=str(tmp_path / "out"), stderr=str(tmp_path / "none/err"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_tool_gets_variables_descriptors_and_a_clear_signal_mask(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        command = f"grep SigBlk /proc/self/status; echo $MINE; pwd; echo through > /proc/self/fd/{writing}"
        tool = HelperProcess(
            ["sh", "-c", command],
            stdout=str(tmp_path / "out"),
            pass_fds=[writing],
            cwd=str(tmp_path),
            env={"MINE": "set"},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.close(writing)
    assert os.read(reading, 20) == b"through\n"
    os.close(reading)
    wait_until(lambda: not tool.alive(), "its end")
    mask, mine, folder = (tmp_path / "out").read_text().splitlines()
    assert int(mask.split()[1], 16) == 0
    assert (mine, folder) == ("set", str(tmp_path))


def test_a_tool_dies_with_its_starter() -> None:
    code = (
        "import time; from edgeprof.collectors.helper import HelperProcess\n"
        "print(HelperProcess(['sleep', '600']).pid, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT)
    assert starter.stdout is not None
    tool = int(starter.stdout.readline())
    assert alive(tool)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    wait_until(lambda: not alive(tool), "the end of the tool")


def test_ctrl_c_does_not_reach_a_tool() -> None:
    tool = HelperProcess(["sleep", "600"])
    assert os.getsid(tool.pid) == tool.pid != os.getsid(0)
    tool.stop(signal.SIGKILL)


def test_asking_a_tool_once() -> None:
    answer = ask(["sh", "-c", "cat; echo out; echo err >&2; exit 3"], timeout=10, env={"X": "1"})
    assert answer == (3, "out\n", "err\n")
    assert ask(["sleep", "600"], timeout=0.05).code is None
    with pytest.raises(OSError, match="No such file"):
        ask(["no-such-program"], timeout=1)


def test_programs_are_looked_up_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "tool"
    program.touch()
    monkeypatch.setenv("PATH", f"/nowhere:{tmp_path}")
    assert find_program("tool") is None
    program.chmod(0o755)
    assert find_program("tool") == str(program)
    assert find_program(str(program)) == str(program)
    assert find_program(str(tmp_path)) is None
