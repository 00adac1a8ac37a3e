"""Waiting for blocked signals, for a time.

`signal.sigtimedwait` will not do.  A stop and continuation (Ctrl-Z and fg, SIGSTOP, a debugger that attaches)
interrupts it, and where its time is over by then, CPython up to 3.14 returns a signal that was never sent: whatever
its uninitialised siginfo_t held.  Handed on, that may be a SIGHUP that ends the workload.
"""

import ctypes
import errno
import os
import signal
import time
from contextlib import contextmanager
from typing import Any, Iterable, Iterator, NamedTuple, Optional

_SIGSET_BYTES = 128  # sigset_t of glibc and musl


class Received(NamedTuple):
    """A signal, how it came (``si_code`` of sigaction(2)), and the process that sent it."""

    number: int
    code: int
    sender: int


class _Sender(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_int), ("uid", ctypes.c_uint)]


class _Details(ctypes.Union):
    _fields_ = [("sender", _Sender), ("aligned", ctypes.c_void_p), ("all", ctypes.c_byte * 116)]


class _Info(ctypes.Structure):
    """siginfo_t, asm-generic/siginfo.h."""

    _fields_ = [
        ("number", ctypes.c_int),
        ("errno", ctypes.c_int),
        ("code", ctypes.c_int),
        ("details", _Details),
    ]


class _Time(ctypes.Structure):
    """struct timespec."""

    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class SignalWait:
    """Takes signals one by one.

    The caller has `blocked` them, before it started any thread: one that has not would get them.

    Args:
        awaited: their numbers.
    """

    def __init__(self, awaited: Iterable[int]) -> None:
        self._libc: Any = ctypes.CDLL(None, use_errno=True)
        self._set = ctypes.create_string_buffer(_SIGSET_BYTES)
        self._libc.sigemptyset(self._set)
        for number in awaited:
            self._libc.sigaddset(self._set, int(number))
        self._info = _Info()

    def wait(self, seconds: float) -> Optional[Received]:
        """The next signal; None when none came in ``seconds``.

        Raises:
            OSError: the kernel refuses to wait.
        """
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, seconds)
            limit = _Time(int(left), int(left % 1 * 1e9))
            if self._libc.sigtimedwait(self._set, ctypes.byref(self._info), ctypes.byref(limit)) > 0:
                return Received(self._info.number, self._info.code, self._info.details.sender.pid)
            error = ctypes.get_errno()
            if error == errno.EAGAIN:
                return None
            if error != errno.EINTR:
                raise OSError(error, os.strerror(error))
            seconds = deadline - time.monotonic()


@contextmanager
def blocked(numbers: Iterable[int]) -> Iterator[None]:
    """Keep signals waiting, for this thread and those that it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
