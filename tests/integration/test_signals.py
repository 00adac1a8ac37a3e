"""Signals during `edgeprof run`: each reaches the workload once, wherever it was sent, and the capture is whole."""

from __future__ import annotations

import os
import pty
import shlex
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.helpers import QUICK, Places, cgroups_left, children_of, end, lines_of, state_of, wait_until

WORKLOAD = """
import os, signal, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def note(number, frame):
    os.write(log, (signal.Signals(number).name + "\\n").encode())
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), note)
os.write(log, b"ready %d\\n" % os.getpid())
while not os.path.exists(sys.argv[1] + ".stop"):
    time.sleep(0.01)
sys.exit(5)
"""
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def workload(places: Places, *names: str) -> list[str]:
    """A workload that writes down each signal it gets, and ends with code 5 once it may."""
    return [sys.executable, "-S", "-c", WORKLOAD, str(places.base / "log"), *names]


def received(places: Places) -> Counter[str]:
    """How often each signal reached the workload."""
    return Counter(line for line in lines_of(places.base / "log") if line.startswith("SIG"))


def pid_of_workload(places: Places) -> int:
    """The workload's process id; 0 before it is ready."""
    return next((int(line.split()[1]) for line in lines_of(places.base / "log") if line.startswith("ready")), 0)


def let_it_end(places: Places) -> None:
    (places.base / "log.stop").touch()


def test_signals_to_edgeprof_alone_reach_the_workload_once(places: Places) -> None:
    running = places.start("run", "--collect", QUICK, "--no-ingest", "--", *workload(places, *NAMES))
    wait_until(lambda: pid_of_workload(places), "the workload")
    for name in NAMES:
        running.send_signal(getattr(signal, name))
        wait_until(lambda name=name: received(places)[name], name)  # type: ignore[misc]
    let_it_end(places)
    running.communicate(timeout=60)
    assert running.returncode == 5
    assert received(places) == dict.fromkeys(NAMES, 1)
    assert places.manifest()["run"]["status"] == "finished"
    assert places.journals() == []
    assert cgroups_left(places) == []


def test_a_run_that_was_stopped_goes_on_and_no_signal_comes_of_it(places: Places) -> None:
    running = places.start("run", "--collect", QUICK, "--no-ingest", "--", *workload(places, *NAMES))
    wait_until(lambda: pid_of_workload(places), "the workload")
    for _ in range(10):
        running.send_signal(signal.SIGSTOP)
        wait_until(lambda: state_of(running.pid) == "T", "edgeprof to stop")
        time.sleep(0.15)  # longer than edgeprof waits for a signal at 10 samples a second
        running.send_signal(signal.SIGCONT)
        wait_until(lambda: state_of(running.pid) == "S", "edgeprof to wait again")
    let_it_end(places)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 5, errors
    assert received(places) == {}


def test_a_workload_ended_by_a_passed_on_signal_is_told_as_such(places: Places) -> None:
    running = places.start("run", "--collect", QUICK, "--no-report", "--", *workload(places))
    wait_until(lambda: pid_of_workload(places), "the workload")
    running.send_signal(signal.SIGTERM)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM, errors
    assert places.manifest()["run"]["signal"] == signal.SIGTERM
    assert "ingest" in places.manifest()


def test_signals_are_passed_on_where_sampling_takes_all_the_time(places: Places) -> None:
    running = places.start(
        "run", "--collect", QUICK, "--rate", "1000", "--budget", "100%", "--no-ingest", "--", *workload(places, *NAMES)
    )
    wait_until(lambda: pid_of_workload(places), "the workload")
    running.send_signal(signal.SIGUSR1)
    wait_until(lambda: received(places)["SIGUSR1"], "SIGUSR1", seconds=10)
    let_it_end(places)
    running.communicate(timeout=60)
    assert running.returncode == 5


def test_a_signal_that_the_workload_sends_to_its_group_comes_back_to_it_once(places: Places) -> None:
    script = """
import os, signal, time
seen = []
def note(*_):
    seen.append(1)
    print('TERM', flush=True)
signal.signal(signal.SIGTERM, note)
os.kill(os.getppid(), signal.SIGSTOP)  # two at a time would look like one
os.kill(0, signal.SIGTERM)
while not seen:
    time.sleep(0.01)
os.kill(os.getppid(), signal.SIGCONT)
time.sleep(0.5)
"""
    running = places.start(
        "run", "-q", "--collect", QUICK, "--no-ingest", "--", sys.executable, "-c", script, start_new_session=True
    )
    output, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert output.splitlines() == ["TERM"]


class Terminal:
    """A process in a terminal of its own; ``text`` is what it printed so far."""

    def __init__(self, pid: int, master: int) -> None:
        self.pid = pid
        self.text = ""
        self._master = master
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:  # EIO: nobody has the terminal open any more
                return
            if not data:
                return
            self.text += data.decode("utf-8", "replace")

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def wait(self) -> int:
        """The exit code of the process; where it does not end, the failure shows where it stands."""
        try:
            _, status = wait_until(lambda: self._ended(), "the process in the terminal", 60)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._state()}") from None
        self._reader.join(10)
        return os.waitstatus_to_exitcode(status)

    def _state(self) -> str:
        """What is known of processes that do not end: each one's kernel stack, then Python's, then the screen."""
        found = []
        for pid in (self.pid, *children_of(self.pid)):
            for name in ("cmdline", "wchan", "stack", "status"):
                with suppress(OSError):
                    found.append(f"{pid} {name}: {Path(f'/proc/{pid}/{name}').read_text()}")
        os.kill(self.pid, signal.SIGABRT)  # faulthandler prints where each thread is
        self._reader.join(5)
        return "\n".join([*found, self.text])

    def _ended(self) -> tuple[int, int] | None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return (pid, status) if pid else None


@contextmanager
def terminal(argv: list[str], places: Places) -> Iterator[Terminal]:
    """Run a command as the leader of a new terminal."""
    settings = {"TERM": "dumb", "PS1": "$ ", "HISTFILE": "/dev/null", "PYTHONFAULTHANDLER": "1"}
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(places.base)
        os.execve(argv[0], argv, places.environment(**settings))
    try:
        yield Terminal(pid, master)
    finally:
        end([pid])
        os.close(master)


def test_ctrl_c_reaches_the_workload_exactly_once_and_the_report_is_made(places: Places) -> None:
    argv = places.command("run", "--collect", QUICK, "--", *workload(places, *NAMES))
    with terminal(argv, places) as screen:
        wait_until(lambda: pid_of_workload(places), "the workload")
        # Two at a time would look like one: edgeprof gets its own only when the workload has had the terminal's.
        os.kill(screen.pid, signal.SIGSTOP)
        wait_until(lambda: state_of(screen.pid) == "T", "edgeprof to stop")
        screen.type(b"\x03")
        wait_until(lambda: received(places)["SIGINT"], "Ctrl-C")
        os.kill(screen.pid, signal.SIGCONT)
        # Signals are taken lowest number first: once this one has come through, a second SIGINT would have, too.
        os.kill(screen.pid, signal.SIGUSR1)
        wait_until(lambda: received(places)["SIGUSR1"], "SIGUSR1")
        assert received(places)["SIGINT"] == 1
        let_it_end(places)
        assert screen.wait() == 5
    assert received(places)["SIGINT"] == 1
    assert (places.only() / "report.html").stat().st_size > 100_000
    assert places.manifest()["run"]["status"] == "finished"
    assert places.journals() == []


def test_ctrl_c_that_ends_the_workload_leaves_a_whole_capture(places: Places) -> None:
    argv = places.command("run", "--collect", QUICK, "--no-report", "--", *workload(places))
    with terminal(argv, places) as screen:
        wait_until(lambda: pid_of_workload(places), "the workload")
        screen.type(b"\x03")
        code = screen.wait()
    # Python ends itself by SIGINT after an interrupt, as the shell expects of it.
    assert code == 128 + signal.SIGINT
    content = places.manifest()
    assert content["run"]["signal"] == signal.SIGINT
    assert content["ingest"]["tables"]["process"] > 0
    assert places.journals() == []


DAEMON = """
import subprocess, sys
nothing = subprocess.DEVNULL
left = subprocess.Popen(['sleep', '600'], stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
with open(sys.argv[1], 'w') as file:
    file.write('ready %d %d\\n' % (__import__('os').getpid(), left.pid))
sys.exit(5)
"""


def test_ctrl_c_as_the_workload_has_just_ended_costs_nothing(places: Places) -> None:
    log = places.base / "log"
    argv = places.command("run", "--collect", QUICK, "--no-report", "--", sys.executable, "-c", DAEMON, str(log))
    with terminal(argv, places) as screen:
        workload, left = wait_until(lambda: [int(word) for word in "".join(lines_of(log)).split()[1:]], "the workload")
        try:
            # Reaped: edgeprof now gives what the workload left running a moment to end, too.
            wait_until(lambda: not Path(f"/proc/{workload}").exists(), "the end of the workload")
            screen.type(b"\x03")
            assert screen.wait() == 5, screen.text
        finally:
            end([left])
    assert "ingest" in places.manifest()
    assert places.journals() == []


@pytest.mark.skipif(not Path("/bin/bash").exists(), reason="no bash here: apt-get install bash")
def test_ctrl_z_and_fg_do_not_break_the_run(places: Places) -> None:
    with terminal(["/bin/bash", "--norc", "--noprofile", "-i"], places) as screen:
        wait_until(lambda: "$ " in screen.text, "the shell")
        words = places.command("run", "--collect", QUICK, "--no-ingest", "--", *workload(places, "SIGUSR1"))
        (places.base / "start.sh").write_text(f"exec {shlex.join(words)}\n")
        screen.type(b"bash start.sh\n")
        pid = wait_until(lambda: pid_of_workload(places), "the workload")
        (edgeprof,) = children_of(screen.pid)
        screen.type(b"\x1a")
        wait_until(lambda: state_of(pid) == state_of(edgeprof) == "T", "both to stop")
        screen.type(b"fg\n")
        wait_until(lambda: "T" not in (state_of(pid), state_of(edgeprof)), "both to go on")
        os.kill(edgeprof, signal.SIGUSR1)
        wait_until(lambda: received(places)["SIGUSR1"], "SIGUSR1")
        let_it_end(places)
        wait_until(lambda: not Path(f"/proc/{edgeprof}").exists(), "the end of edgeprof")
        screen.type(b"echo code=$?\n")
        wait_until(lambda: "code=5" in screen.text, "the code")
        screen.type(b"exit\n")
        screen.wait()
    assert places.manifest()["run"]["exit_code"] == 5
    assert places.journals() == []
