"""Starting the workload: found or refused in a sentence, held until it may go, never half-started."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edgeprof.profiler.agent.launch import HeldProcess, ended, find_program, wait_for
from edgeprof.profiler.agent.spec import LAUNCH, CaptureError
from tests.helpers import wait_until


def test_programs_are_found_as_a_shell_finds_them(tmp_path: Path) -> None:
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program(["tool", "x"], {"PATH": f"/nowhere:{tmp_path}"}) == str(program)
    assert find_program([str(program)], {"PATH": ""}) == str(program)
    assert find_program(["sh"], {}).endswith("/sh")


@pytest.mark.parametrize(
    ("command", "sentence", "code"),
    [
        ([], "nothing to run; give a command after --", 120),
        ([""], "nothing to run", 120),
        (["no-such-program"], "cannot run no-such-program: no such program on PATH", LAUNCH),
        (["/"], "cannot run /: it is a folder", LAUNCH),
        (["/etc/passwd"], "cannot run /etc/passwd: it is not executable; make it executable", LAUNCH),
    ],
)
def test_what_cannot_be_run_is_one_sentence(command: list[str], sentence: str, code: int) -> None:
    with pytest.raises(CaptureError) as error:
        find_program(command, dict(os.environ))
    assert str(error.value).startswith(sentence)
    assert error.value.exit_code == code


def test_a_held_process_runs_only_once_it_is_released(tmp_path: Path) -> None:
    told = tmp_path / "told"
    held = HeldProcess("/bin/sh", ["sh", "-c", f'printf "%s" "$ODD" > {told}; exit 9'])
    assert not ended(held.pid)
    assert not told.exists()
    held.release({"ODD": "a=b\nc", "PATH": "/bin"})
    wait_until(lambda: ended(held.pid), "the end")
    ending = wait_for(held.pid)
    assert (ending.exit_code, ending.signal) == (9, None)
    assert told.read_text() == "a=b\nc"
    assert ending.usage["peak_rss_bytes"] > 1 << 16


def test_a_large_environment_is_handed_over_whole() -> None:
    variables = {f"V{number}": "x" * 1000 for number in range(200)}  # more than a pipe holds
    held = HeldProcess("/bin/sh", ["sh", "-c", "test ${#V0} = 1000 && test ${#V199} = 1000 && test $LAST = end"])
    held.release({**variables, "LAST": "end"})
    assert wait_for(held.pid).exit_code == 0


def test_an_abandoned_process_never_runs(tmp_path: Path) -> None:
    told = tmp_path / "told"
    held = HeldProcess("/bin/sh", ["sh", "-c", f"touch {told}"])
    held.abandon()
    held.abandon()
    assert not told.exists()
    with pytest.raises(ChildProcessError):
        os.waitpid(held.pid, 0)


def test_a_parent_that_dies_in_the_middle_of_the_release_starts_nothing(tmp_path: Path) -> None:
    told = tmp_path / "told"
    held = HeldProcess("/bin/sh", ["sh", "-c", f"touch {told}"])
    os.write(held._gate, b"\x10\0\0\0\0\0\0\0PATH=/b")  # 16 bytes were announced
    os.close(held._gate)
    _, status = os.waitpid(held.pid, 0)
    assert os.waitstatus_to_exitcode(status) == LAUNCH
    assert not told.exists()


def test_an_exec_that_fails_is_told_with_its_reason(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no first line")
    program.chmod(0o755)
    held = HeldProcess(str(program), ["program"])
    with pytest.raises(CaptureError, match="Exec format error; name its interpreter first"):
        held.release({})
    with pytest.raises(ChildProcessError):
        os.waitpid(held.pid, 0)


def test_a_held_process_that_is_killed_has_that_ending() -> None:
    held = HeldProcess("/bin/true", ["true"])
    os.kill(held.pid, signal.SIGKILL)
    wait_until(lambda: ended(held.pid), "its death")
    held.release({})
    ending = wait_for(held.pid)
    assert (ending.exit_code, ending.signal) == (None, signal.SIGKILL)


def test_signals_are_as_a_shell_would_leave_them() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGINT})
    try:
        held = HeldProcess("/bin/sh", ["sh", "-c", "kill -USR1 $$; exit 0"])
        held.release(dict(os.environ))
        assert wait_for(held.pid).signal == signal.SIGUSR1
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
