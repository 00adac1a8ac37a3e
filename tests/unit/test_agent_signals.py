"""Waiting for signals: each is taken once, and none is told that was not sent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from edgeprof.profiler.agent.signals import SignalWait, blocked
from tests.helpers import state_of, wait_until

WAITS = """
import signal
from edgeprof.profiler.agent.signals import SignalWait
awaited = {signal.SIGHUP, signal.SIGTERM}
signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
signals = SignalWait(awaited)
while True:
    received = signals.wait(0.02)
    if received is not None:
        print(received.number, received.sender, flush=True)
        if received.number == signal.SIGTERM:
            break
"""


@pytest.fixture
def two() -> Iterator[set[int]]:
    """Two signals that are blocked in this thread alone: send them to no other."""
    numbers = {signal.SIGUSR1, signal.SIGUSR2}
    with blocked(numbers):
        yield numbers
        while signal.sigtimedwait(numbers, 0) is not None:
            pass


def test_each_signal_is_taken_once_with_its_sender(two: set[int]) -> None:
    signals = SignalWait(two)
    assert signals.wait(-1) is None
    for number in (signal.SIGUSR2, signal.SIGUSR1):
        signal.raise_signal(number)
    taken = [signals.wait(60), signals.wait(60)]
    assert [(one.number, one.sender) for one in taken if one] == [
        (signal.SIGUSR1, os.getpid()),
        (signal.SIGUSR2, os.getpid()),
    ]
    assert signals.wait(0) is None


def test_it_tells_what_python_tells(two: set[int]) -> None:
    signal.raise_signal(signal.SIGUSR1)
    own = SignalWait(two).wait(60)
    signal.raise_signal(signal.SIGUSR1)
    python = signal.sigtimedwait(two, 60)
    assert own is not None
    assert python is not None
    assert own == (python.si_signo, python.si_code, python.si_pid)


def test_other_signals_are_left(two: set[int]) -> None:
    signal.raise_signal(signal.SIGUSR2)
    began = time.monotonic()
    assert SignalWait({signal.SIGUSR1}).wait(0.05) is None
    assert time.monotonic() - began >= 0.05
    assert signal.SIGUSR2 in signal.sigpending()


def test_nothing_to_wait_for_is_a_pause() -> None:
    assert SignalWait(()).wait(0.01) is None


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
