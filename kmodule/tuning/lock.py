"""One tuner a disk: two would take each other's changes for their own."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edgeprof.kmodule.tuning.errors import CannotTune
from edgeprof.profiler.agent.journal import state_folder


class DiskLock:
    """Held until it is closed, or its process ends however.

    Raises:
        CannotTune: another process tunes the disk, or no lock can be kept.
    """

    def __init__(self, name: str) -> None:
        try:
            path = Path(state_folder()) / f"tune-{name}.lock"
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotTune(f"{error.filename} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise CannotTune(f"{name} is tuned by process {owner or 'another'} already; end that one first") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, b"%d\n" % os.getpid(), 0)

    def close(self) -> None:
        """Let another tuner have the disk."""
        os.close(self._file)
