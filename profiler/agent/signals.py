"""Waiting for blocked signals, for a time.

`signal.sigtimedwait` alone will not do.  A stop and continuation (Ctrl-Z and fg, SIGSTOP, a debugger that attaches)
interrupts it, and where its time is over by then, CPython up to 3.14 returns a signal that was never sent: whatever
its uninitialised siginfo_t held.  Handed on, that may be a SIGHUP that ends the workload.
"""

import ctypes
import os
import select
import signal
from types import TracebackType
from typing import Any, Iterable, Optional, Type

_SIGSET_BYTES = 128  # sigset_t of glibc and musl
_SFD_CLOEXEC = os.O_CLOEXEC  # linux/signalfd.h


class SignalWait:
    """Takes signals one by one; the caller has blocked them.

    Args:
        awaited: their numbers.

    Raises:
        OSError: no file descriptor is left.
    """

    def __init__(self, awaited: Iterable[int]) -> None:
        self._awaited = frozenset(awaited)
        libc: Any = ctypes.CDLL(None, use_errno=True)
        mask = ctypes.create_string_buffer(_SIGSET_BYTES)
        libc.sigemptyset(mask)
        for number in self._awaited:
            libc.sigaddset(mask, int(number))
        self._file = libc.signalfd(-1, mask, _SFD_CLOEXEC)
        if self._file < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def wait(self, seconds: float) -> Optional[Any]:
        """The next signal, a `signal.struct_siginfo`; None when none came in ``seconds``."""
        ready, _, _ = select.select((self._file,), (), (), max(0.0, seconds))
        return signal.sigtimedwait(self._awaited, 0) if ready else None  # 0: never interrupted

    def close(self) -> None:
        """Signals that come from now on stay pending."""
        os.close(self._file)

    def __enter__(self) -> "SignalWait":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()
