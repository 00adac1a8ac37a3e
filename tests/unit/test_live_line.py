"""The line at the bottom of the terminal: it is there, it disturbs nobody, and it goes."""

from __future__ import annotations

import os
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprof.cli.bottom_line import BottomLine
from edgeprof.cli.live import OnTerminal, chosen_display, clock, fields, fitted, in_foreground
from edgeprof.profiler.live.follow import Follower
from tests.live_run import START_NS, LiveRun
from tests.terminal import terminal

FIELDS = [("", "0:07"), ("CPU", "150 %"), ("memory", "103 MB"), ("read", "3 MB/s")]


def test_what_is_known_is_told_and_what_does_not_fit_is_left_out() -> None:
    assert fitted(FIELDS, 80, False, True) == "0:07  CPU   150 %  memory  103 MB  read  3 MB/s"
    assert fitted(FIELDS, 30, False, True) == "0:07  CPU   150 %"
    assert fitted(FIELDS, 3, False, True) == ""


def test_colours_take_no_columns_and_ascii_is_ascii() -> None:
    assert fitted(FIELDS, 17, True, True) == "0:07  \x1b[2mCPU\x1b[22m   150 %"
    assert fitted([("step", "3.4 µs")], 80, False, False) == "step  3.4 us"
    assert fitted([("steps", "12\u202f345")], 80, False, False).isascii()


def test_the_fields_of_a_run(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    run.cgroup_v2(0.0)
    run.cgroup_v2(1.0)
    run.steps([0.5])
    follower = Follower(run.path)
    follower.look()
    assert dict(fields(follower, START_NS + 65 * 10**9)) == {
        "": "1:05",
        "CPU": "150 %",
        "memory": "101 MB of 512 MB",
        "read": "3 MB/s",
        "written": "2 MB/s",
        "steps": "1",
        "step": "500 ms",
        "I/O pressure": "25 %",
        "memory pressure": "0 %",
    }


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0:00"), (-1, "0:00"), (750.9, "12:30"), (3723, "1:02:03")])
def test_a_duration_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_nothing_is_shown_unasked_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    assert chosen_display(None, quiet=False) is None
    assert type(chosen_display(True, quiet=True)).__name__ == "AsLines"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert type(chosen_display(None, quiet=False)).__name__ == "OnTerminal"
    assert chosen_display(None, quiet=True) is None
    assert chosen_display(False, quiet=False) is None
    monkeypatch.setenv("TERM", "dumb")
    assert chosen_display(None, quiet=False) is None


def printing(lines: int, before: Callable[[BottomLine], None], every: int = 1) -> Callable[[], None]:
    """Prints numbered lines; ``before`` is called before every so many of them."""

    def work() -> None:
        line = BottomLine(1)
        for number in range(lines):
            if number % every == 0:
                before(line)
            os.write(1, b"line %d\n" % number)
        line.hide()

    return work


def test_lines_scroll_above_it_and_none_is_lost() -> None:
    with terminal(printing(200, lambda line: line.show("status"), every=7), rows=10, columns=40) as screen:
        assert screen.wait() == 0
        assert screen.written.count(b"status") == 29
        assert [row for row in screen.scrolled if row.startswith("line")] == [f"line {n}" for n in range(200)]
        assert not screen.reserved
        assert screen.rows[-2:] == ["", ""]
        assert not any("status" in row for row in screen.scrolled)


def test_a_program_that_resets_the_terminal_gets_its_line_back() -> None:
    def work() -> None:
        line = BottomLine(1)
        line.show("first")
        os.write(1, b"\x1bc" + b"text\n" * 30)
        line.show("second")
        os.write(1, b"below\n")
        line.hide()

    with terminal(work, rows=10, columns=40) as screen:
        assert screen.wait() == 0
        assert "second" not in "".join(screen.rows)
        assert screen.rows[-3:] == ["below", "", ""]
        assert not screen.reserved


@pytest.mark.parametrize(("rows", "columns"), [(5, 100), (24, 29), (1, 1)])
def test_a_tiny_terminal_is_left_alone(rows: int, columns: int) -> None:
    def work() -> None:
        os._exit(7 if BottomLine(1).columns() is None else 8)

    with terminal(work, rows=rows, columns=columns) as screen:
        assert screen.wait() == 7


def test_a_program_that_reads_single_keys_has_the_screen_to_itself() -> None:
    def work() -> None:
        line = BottomLine(1)
        assert line.columns() == 99
        before = termios.tcgetattr(1)
        tty.setcbreak(1)
        assert line.columns() is None
        termios.tcsetattr(1, termios.TCSANOW, before)
        assert line.columns() == 99

    with terminal(work) as screen:
        assert screen.wait() == 0, screen.rows


def test_who_is_stopped_or_gone_is_not_in_the_foreground() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        with Path(os.devnull).open() as nowhere:
            assert in_foreground(pid, nowhere.fileno())
            os.kill(pid, signal.SIGSTOP)
            os.waitid(os.P_PID, pid, os.WSTOPPED)
            assert not in_foreground(pid, nowhere.fileno())
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert not in_foreground(pid, nowhere.fileno())
    finally:
        if in_foreground(pid, 0):
            os.kill(pid, signal.SIGKILL)


def showing(run: LiveRun, colours: bool = True) -> Callable[[], None]:
    """What the process of the line does, as the agent would start it."""

    def work() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        OnTerminal(os.getppid(), colours, True).show(str(run.path))

    return work


@pytest.fixture
def growing(tmp_path: Path) -> Callable[[], LiveRun]:
    """A run that grows by a second's samples four times a second, until the test is over."""
    run = LiveRun(tmp_path / "run")
    over = threading.Event()

    def grow() -> None:
        for second in range(400):
            run.cgroup_v2(float(second))
            if over.wait(0.25):
                return

    thread = threading.Thread(target=grow)
    thread.start()
    yield run  # type: ignore[misc]
    over.set()
    thread.join()


def test_it_follows_a_run_and_a_resize_and_leaves_on_sigterm(growing: LiveRun) -> None:
    with terminal(showing(growing, colours=False), rows=20, columns=100) as screen:
        screen.wait_for(lambda: "CPU   150 %" in screen.last, "the run's figures")
        assert screen.reserved
        screen.resize(30, 60)
        screen.wait_for(lambda: "CPU   150 %" in screen.last, "the line in the new last row")
        assert len(screen.last) < 60
        screen.resize(4, 20)
        screen.wait_for(lambda: not screen.reserved, "the tiny terminal to be left alone")
        screen.resize(20, 100)
        screen.wait_for(lambda: "CPU   150 %" in screen.last, "the line again")
        assert b"\x1b[2m" not in screen.written  # no colours were asked for
        os.kill(screen.pid, signal.SIGTERM)
        assert screen.wait() == 0
        assert screen.last == ""
        assert not screen.reserved


def test_it_leaves_when_the_terminal_is_closed(growing: LiveRun) -> None:
    master, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(slave, 2)
        os.close(master)
        os.close(slave)
        showing(growing)()
        os._exit(5)
    os.close(slave)
    os.close(master)
    deadline = time.monotonic() + 20
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            pytest.fail("it went on without a terminal")
        time.sleep(0.01)
    assert os.waitstatus_to_exitcode(found[1]) == 5
