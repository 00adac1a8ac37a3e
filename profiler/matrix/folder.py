"""The folder of a matrix: where everything lies, and the lock that lets one process at a time work on it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.errors import MatrixBusy

DEFAULT_PARENT = Path("edgeprof-matrix")
STATE = "state.jsonl"


@dataclass(frozen=True)
class MatrixFolder:
    """Paths of one matrix."""

    path: Path

    @property
    def state(self) -> Path:
        """What was begun and ended, one JSON object a line."""
        return self.path / STATE

    @property
    def runs(self) -> Path:
        """Capture directories of the runs that count."""
        return self.path / "runs"

    @property
    def set_aside(self) -> Path:
        """Capture directories that do not count: of interrupted runs, and of failed ones that were tried again."""
        return self.path / "set-aside"

    @property
    def logs(self) -> Path:
        """The last words of runs that failed."""
        return self.path / "logs"

    def make(self) -> None:
        """Make what is missing.  Raises EdgeprofError."""
        try:
            for folder in (self.runs, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(error) from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work on the folder alone.  The kernel drops the lock with the process, however that ends.

        Raises:
            MatrixBusy
            EdgeprofError: the folder cannot be written.
        """
        try:
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _cannot_write(error) from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise MatrixBusy(self.path, os.pread(lock, 32, 0).decode("ascii", "replace").strip()) from None
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(lock)

    def captures(self) -> set[str]:
        """Names of the runs' capture directories; the scratch folder of a virtual machine, with a dot, is none."""
        return {path.name for path in self.runs.iterdir() if path.is_dir() and not path.name.startswith(".")}

    def bytes(self) -> int:
        """What the folder takes on disk."""
        return bytes_below(self.path)


def _cannot_write(error: OSError) -> EdgeprofError:
    return EdgeprofError(f"cannot write to {error.filename}: {error.strerror}; name another folder with --output")


def bytes_below(folder: Path) -> int:
    """Bytes on disk of all files below a folder; what disappears meanwhile does not count."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_blocks * 512  # noqa: PTH118  (hot: thousands of files)
            except OSError:
                continue
    return total


def is_matrix(path: Path) -> bool:
    """Whether a folder holds the state of a matrix."""
    return (path / STATE).is_file()
