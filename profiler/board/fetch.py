"""Brings a run's files from a board: checksummed, and resumed where an earlier attempt was cut.

Files arrive in ``OUTPUT/.fetching-JOB``, of which nothing is anybody else's; when all are there and right, the capture
takes its own name in OUTPUT.  What the board says is checked before anything is written: names that stay inside, sizes
that the desk has room for, and no more than what was announced.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from edgeprof.profiler.agent.remote_files import MOST_FILES, can_be_sent
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import BoardError, Lost, Nonsense, TooLarge, told
from edgeprof.profiler.board.fields import Fields
from edgeprof.profiler.files import CannotWrite
from edgeprof.profiler.units import human

ATTEMPTS = 3
"""How often a fetch whose connection is cut is begun."""
MOST_APPENDED = 16 << 20
"""Bytes by which a file may have grown since it was listed: processes that the workload left may write on."""
KEPT_FREE = 64 << 20
"""Bytes that a fetch leaves free at the desk."""
LONGEST_LISTING = 600.0
"""Seconds for the board to sum up a large capture, file by file."""
DESK_FILE = "desk.json"
"""Beside what arrives: what the desk knew as the run began."""

_SUM = re.compile(r"[0-9a-f]{64}")
_SIZE = 1 << 44
_BLOCK = 1 << 20


@dataclass(frozen=True)
class RemoteFile:
    """A file of a job: its path below the job's folder, bytes, and SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Fetched:
    """What is at the desk now.

    Attributes:
        bytes: came over the network by this fetch.
        total: what all files hold, bytes.
        unreadable: files that only the board has: the agent may not read them, or they cannot be sent.
    """

    folder: Path
    files: int
    bytes: int
    total: int
    unreadable: int


def safe_path(board: str, text: str) -> PurePosixPath:
    """A path of a job's file that cannot leave the job's folder.  Raises Nonsense."""
    if not can_be_sent(text):
        raise Nonsense(board, f"no path of a capture: {text[:80]!r}")
    return PurePosixPath(text)


def partial_folder(output: Path, job: str) -> Path:
    """Where a job's files arrive."""
    return output / f".fetching-{job}"


def make_partial(output: Path, job: str) -> Path:
    """The folder where a job's files arrive, made or found; never one that somebody else has put there.

    Raises:
        CannotWrite: it cannot be made, or is not a folder of this user's.
    """
    folder = partial_folder(output, job)
    try:
        output.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError as error:
        raise CannotWrite(folder, error) from None
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.getuid():
        raise CannotWrite(folder, PermissionError(1, "it is not a folder of yours"))
    return folder


def fetch(connection: Connection, job: str, output: Path, say: Callable[[str], None]) -> Fetched:
    """Bring all files of a job, or what is missing of them.

    A connection that is cut is made anew.

    Raises:
        BoardError: cuts that last, an answer that is refused, no room at the desk.
        CannotWrite
    """
    folder = make_partial(output, job)
    came = 0
    for attempt in range(1, ATTEMPTS + 1):
        transfer = _Transfer(connection, job, folder)
        try:
            transfer.run()
            return Fetched(folder, len(transfer.files), came + transfer.came, transfer.total, transfer.unreadable)
        except Lost as error:
            came += transfer.came
            if attempt == ATTEMPTS:
                raise
            connection.open_again(error, say)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise _no_room(connection.board.name, output, f"got full ({error.strerror})") from None
            raise CannotWrite(folder, error) from None
    raise AssertionError("not reached")


def _no_room(board: str, output: Path, why: str) -> TooLarge:
    return TooLarge(
        board, f"the run waits there: {output} {why}; free some space, then `edgeprof board pull {board}` fetches it"
    )


class _Transfer:
    """One attempt; ``came``: bytes so far."""

    def __init__(self, connection: Connection, job: str, folder: Path) -> None:
        self.connection = connection
        self.board = connection.board.name
        self.job = job
        self.folder = folder
        self.files: list[RemoteFile] = []
        self.total = 0
        self.unreadable = 0
        self.came = 0

    def run(self) -> None:
        self.files, self.unreadable = listing(self.connection, self.job)
        self.total = sum(item.size for item in self.files)
        self._check_room()
        remove_others(self.folder, {item.path for item in self.files})
        wrong = self._send_for([item for item in self.files if not self._is_here(item)])
        if wrong:  # what was here before was not the beginning of it
            for item in wrong:
                (self.folder / item.path).unlink()
            wrong = self._send_for(wrong)
        if wrong:
            raise Nonsense(self.board, f"{wrong[0].path} is not what its checksum says")

    def _check_room(self) -> None:
        here = sum(min(item.size, size_of(self.folder / item.path)) for item in self.files)
        room = shutil.disk_usage(self.folder).free - KEPT_FREE
        if self.total - here > room:
            room_told = human(max(room, 0), "bytes")
            raise _no_room(
                self.board, self.folder.parent, f"has {room_told} for the {human(self.total - here, 'bytes')} to fetch"
            )

    def _is_here(self, item: RemoteFile) -> bool:
        path = self.folder / item.path
        return path.is_file() and size_of(path) == item.size and checksum(path) == item.sha256

    def _send_for(self, wanted: Sequence[RemoteFile]) -> list[RemoteFile]:
        """Fetch the files' ends; those that are not right then."""
        if not wanted:
            return []
        wrong = []
        with self.connection.channel("fetching", "send", self.job) as channel:
            for item in wanted:
                path = self.folder / item.path
                offset = size_of(path)
                if offset >= item.size and item.size:  # it has not the right content
                    path.unlink()
                    offset = 0
                channel.write(json.dumps({"path": item.path, "offset": offset}).encode() + b"\n")
                size = self._announced(self.connection.answer(channel), item, offset)
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                with append(path) as file:
                    left = item.size - offset
                    for block in channel.exactly(size):
                        file.write(block[:left])  # what was appended since the list was made, is dropped
                        left -= min(left, len(block))
                        self.came += len(block)
                if checksum(path) != item.sha256:
                    wrong.append(item)
        return wrong

    def _announced(self, fields: Fields, item: RemoteFile, offset: int) -> int:
        """Bytes that follow: what is missing of the file, and at most a little that was appended since."""
        if "error" in fields.values:
            raise BoardError(self.board, f"{item.path} cannot be read there: {told(fields.text('error', 1 << 16))}")
        missing = item.size - offset
        if (fields.text("path"), fields.whole("offset")) != (item.path, offset):
            raise Nonsense(self.board, f"it sends another file than {item.path}")
        return fields.whole("size", missing + MOST_APPENDED, missing)


def listing(connection: Connection, job: str) -> tuple[list[RemoteFile], int]:
    """The files of a job, and how many more there are that the board cannot send.  Raises BoardError."""
    board = connection.board.name
    files: list[RemoteFile] = []
    seen: set[str] = set()
    folders: set[str] = set()
    last: Fields | None = None
    most = MOST_FILES + 1  # and the line that ends the list
    for fields in connection.answers("listing files", "files", job, most=most, seconds=LONGEST_LISTING):
        if last is not None:
            raise Nonsense(board, "more after the end of the list of files")
        if "path" not in fields.values:
            last = fields
            continue
        path = str(safe_path(board, fields.text("path")))
        if path in seen:
            raise Nonsense(board, f"{path} comes twice")
        seen.add(path)
        folders.update(map(str, PurePosixPath(path).parents))
        files.append(RemoteFile(path, fields.whole("size", _SIZE), fields.matching("sha256", _SUM)))
    if seen & folders:
        raise Nonsense(board, f"{min(seen & folders)} is a file and a folder")
    if last is None or (last.whole("files"), last.whole("bytes")) != (len(seen), sum(item.size for item in files)):
        raise Nonsense(board, "the list of files is not whole")
    return files, last.whole("unreadable")


def checksum(path: Path) -> str:
    """A file's SHA-256.  Raises OSError."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(_BLOCK):
            digest.update(block)
        return digest.hexdigest()


def remove_others(folder: Path, wanted: set[str]) -> None:
    """Remove what an earlier attempt has brought and the board has no more, such as a file that was replaced."""
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(where) / name
            if str(path.relative_to(folder)) not in wanted | {DESK_FILE}:
                path.unlink()
        if Path(where) != folder and not any(Path(where).iterdir()):
            Path(where).rmdir()


def size_of(path: Path) -> int:
    """Bytes of a regular file; 0 where there is none."""
    try:
        facts = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def append(path: Path) -> BinaryIO:
    """A file of ours to be written on at its end; never through a link."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644), "ab")
