"""Mirrors a run's growing files while it goes on, so that the live display can read them at the desk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from edgeprof.profiler.agent.remote_files import CAPTURE, MOST_FILES
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import Nonsense
from edgeprof.profiler.board.fetch import KEPT_FREE, append, safe_path, size_of
from edgeprof.profiler.board.fields import RUN, Fields
from edgeprof.profiler.board.job import JobState, read_state
from edgeprof.profiler.files import CannotWrite

_PART = 1 << 31


def follow(connection: Connection, job: str, folder: Path, found: Callable[[Path], None]) -> JobState:
    """Write what a job appends to its files below ``folder``, until it is over; then its state.

    Args:
        found: called once, with the capture directory, when its first file is there.

    Raises:
        BoardError, CannotWrite
    """
    mirror = _Mirror(connection.board.name, folder)
    try:
        with connection.channel("following the run", "follow", job) as channel:
            channel.close_input()
            while True:
                fields = connection.answer(channel, seconds=None)
                if "end" in fields.values:
                    return _state(connection, fields)
                path, offset, size = mirror.announced(fields)
                mirror.write(path, offset, channel.exactly(size))
                if mirror.capture is not None:
                    capture, mirror.capture = mirror.capture, None
                    found(capture)
    except OSError as error:
        raise CannotWrite(folder, error) from None


def _state(connection: Connection, fields: Fields) -> JobState:
    end = fields.values["end"]
    if not isinstance(end, dict):
        raise fields.wrong("end")
    return read_state(connection, Fields(connection.board.name, end))


class _Mirror:
    """``capture``: the capture directory, when it has just come into being."""

    def __init__(self, board: str, folder: Path) -> None:
        self.board = board
        self.folder = folder
        self.capture: Path | None = None
        self._known = False
        self._paths: set[str] = set()

    def announced(self, fields: Fields) -> tuple[Path, int, int]:
        """Path at the desk, offset and bytes of the part that follows."""
        relative = safe_path(self.board, fields.text("path"))
        self._paths.add(str(relative))
        if len(self._paths) > MOST_FILES:
            raise Nonsense(self.board, f"more than {MOST_FILES} files")
        size = fields.whole("size", _PART)
        if size > shutil.disk_usage(self.folder).free - KEPT_FREE:
            raise CannotWrite(self.folder, OSError(28, "No space left on device"))
        if not self._known and relative.parts[0] == CAPTURE and RUN.fullmatch(relative.parts[1]):
            self._known = True
            self.capture = self.folder / relative.parts[0] / relative.parts[1]
        return self.folder / relative, fields.whole("offset"), size

    def write(self, path: Path, offset: int, blocks: Iterable[bytes]) -> None:
        """Append what is not there yet; after a new connection the board begins anew."""
        here = size_of(path)
        if offset > here:
            raise Nonsense(self.board, f"it skips a part of {path.name}")
        skip = here - offset
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        with append(path) as file:
            for block in blocks:
                file.write(block[skip:])
                skip -= min(skip, len(block))
