"""Writes result files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError


class CannotWrite(EdgeprofError):
    """A result that could not be written where it should go."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be written ({error.strerror or error}); name a place that you may write to")
        self.path = path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; when the block ends well it is made durable and takes its place.

    Raises:
        CannotWrite: the folder is missing, full or not writable; the temporary file is removed.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise CannotWrite(path, error) from None
    temporary = Path(name)
    try:
        os.fchmod(descriptor, 0o644)
        yield temporary
        os.fsync(descriptor)
        temporary.replace(path)
    except OSError as error:
        if error.errno is None:  # not the system's refusal: Arrow says so of a damaged file that it reads
            raise
        raise CannotWrite(path, error) from None
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Raises CannotWrite where nothing can be written: to be told before work that takes long, not after it."""
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise CannotWrite(path, error) from None


def write_text(path: Path, text: str) -> None:
    """A text file, as `replacing` writes it.  Raises CannotWrite."""
    with replacing(path) as temporary:
        temporary.write_text(text, "utf-8")
