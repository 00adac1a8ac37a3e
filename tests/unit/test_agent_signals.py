"""Waiting for signals: each is taken once, and none is told that was not sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeprof.profiler.agent.signals import SignalWait
from tests.helpers import state_of, wait_until

WAITS = """
import signal
from edgeprof.profiler.agent.signals import SignalWait
awaited = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
with SignalWait(awaited) as signals:
    while True:
        received = signals.wait(0.02)
        if received is not None:
            print(received.si_signo, received.si_pid, flush=True)
            if received.si_signo == signal.SIGTERM:
                break
"""


@pytest.fixture
def blocked() -> Iterator[set[int]]:
    numbers = {signal.SIGUSR1, signal.SIGUSR2}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    yield numbers
    while signal.sigtimedwait(numbers, 0) is not None:
        pass
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_each_signal_is_taken_once_with_its_sender(blocked: set[int]) -> None:
    with SignalWait(blocked) as signals:
        assert signals.wait(-1) is None
        for number in (signal.SIGUSR2, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        taken = [signals.wait(60), signals.wait(60)]
        assert [(one.si_signo, one.si_pid) for one in taken if one] == [
            (signal.SIGUSR1, os.getpid()),
            (signal.SIGUSR2, os.getpid()),
        ]
        assert signals.wait(0) is None


def test_other_signals_are_left(blocked: set[int]) -> None:
    with SignalWait({signal.SIGUSR1}) as signals:
        os.kill(os.getpid(), signal.SIGUSR2)
        began = time.monotonic()
        assert signals.wait(0.05) is None
        assert time.monotonic() - began >= 0.05
    assert signal.SIGUSR2 in signal.sigpending()


def test_nothing_to_wait_for_is_a_pause() -> None:
    with SignalWait(()) as signals:
        assert signals.wait(0.01) is None


def test_it_leaves_no_file_open() -> None:
    files = Path("/proc/self/fd")
    before = len(list(files.iterdir()))
    with SignalWait({signal.SIGUSR1}):
        assert len(list(files.iterdir())) == before + 1
    assert len(list(files.iterdir())) == before


def test_a_process_that_was_stopped_is_told_of_no_signal_but_those_sent() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITS], stdout=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: state_of(process.pid) == "S", "the process to wait")
            for _ in range(20):  # each longer than the wait, as in a shell
                process.send_signal(signal.SIGSTOP)
                wait_until(lambda: state_of(process.pid) == "T", "the process to stop")
                time.sleep(0.03)
                process.send_signal(signal.SIGCONT)
                wait_until(lambda: state_of(process.pid) != "T", "the process to go on")
            process.terminate()
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert output == f"{signal.SIGTERM.value} {os.getpid()}\n"
