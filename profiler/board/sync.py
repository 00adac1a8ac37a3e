"""Makes a folder on a board like one at the desk: what the board has already does not cross the network again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from edgeprof.profiler.board.channel import Channel
from edgeprof.profiler.board.connection import Connection
from edgeprof.profiler.board.errors import Nonsense
from edgeprof.profiler.board.fetch import checksum
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.units import human

LEFT_OUT = frozenset(
    {".git", ".hg", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", "edgeprof-runs"}
)
"""Folders that a workload does not need."""
LIST_BYTES = 8 << 20
"""The longest list of files that the agent takes."""
LOOK_SECONDS = 600.0
"""For the board to look through what it has, and to put new files in their places."""


class CannotSync(EdgeprofError):
    """A folder that cannot be sent."""


@dataclass(frozen=True)
class LocalFile:
    """A file to send; the fields are the agent's."""

    path: str
    size: int
    mode: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class Synced:
    """What was done; ``name`` is the folder's below the board's ``sync``; ``sent`` files, ``bytes``, were missing."""

    name: str
    files: int
    sent: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def remote_name(folder: Path) -> str:
    """A folder's name on boards: two folders of one name stay apart."""
    place = os.fsencode(folder.resolve())
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", folder.resolve().name).strip(".-")[:40] or "folder"
    return f"{readable}-{hashlib.sha256(place).hexdigest()[:8]}"


def local_files(folder: Path, say: Callable[[str], None]) -> list[LocalFile]:
    """The regular files below a folder; links to folders, or to files outside, are left out, and told.

    Raises:
        CannotSync: a file cannot be read, or there is no such folder.
    """
    if not folder.is_dir():
        raise CannotSync(f"--sync {folder}: there is no such folder")
    top = folder.resolve()
    found: list[LocalFile] = []
    links = 0
    try:
        for where, folders, names in os.walk(top, onerror=_refuse):
            links += sum((Path(where) / name).is_symlink() for name in folders)
            folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
            for name in sorted(names):
                path = Path(where) / name
                if path.is_symlink() and not path.resolve().is_relative_to(top):
                    links += 1
                elif path.is_file():
                    facts = path.stat()
                    relative = str(path.relative_to(top))
                    found.append(
                        LocalFile(
                            relative, facts.st_size, facts.st_mode & 0o777, max(facts.st_mtime_ns, 0), checksum(path)
                        )
                    )
    except OSError as error:
        raise CannotSync(f"--sync {folder}: {error.strerror} ({error.filename})") from None
    if links:
        say(f"--sync leaves out {links} symbolic link(s) to folders or out of {folder}")
    return found


def _refuse(error: OSError) -> None:
    raise error


def sync(connection: Connection, folder: Path, say: Callable[[str], None]) -> Synced:
    """Make the board's copy of ``folder`` like it.

    Raises:
        CannotSync, BoardError
    """
    files = local_files(folder, say)
    request = json.dumps({"files": [asdict(item) for item in files]}).encode() + b"\n"
    if len(request) > LIST_BYTES:
        raise CannotSync(f"--sync {folder}: {len(files)} files are too many; name a folder with the program only")
    name = remote_name(folder)
    with connection.channel("sending files", "receive", name) as channel:
        channel.write(request)
        answer = connection.answer(channel, LOOK_SECONDS, LIST_BYTES)
        missing = _missing(connection, answer.values.get("missing"), files)
        size = sum(item.size for item in missing)
        if missing:
            say(f"sending {len(missing)} file(s), {human(size, 'bytes')}, to {connection.board.name} ...")
            _send(channel, folder.resolve(), missing)
        channel.close_input()
        connection.answer(channel, LOOK_SECONDS)
    return Synced(name, len(files), len(missing), size)


def _missing(connection: Connection, wanted: Any, files: list[LocalFile]) -> list[LocalFile]:
    """The files that the board asks for: of those offered, and no others."""
    known = {item.path: item for item in files}
    if not isinstance(wanted, list) or not all(isinstance(path, str) and path in known for path in wanted):
        raise Nonsense(connection.board.name, "it asks for files that were not offered")
    return [known[path] for path in sorted(set(wanted))]


class _Writer:
    """A channel as a file that tarfile writes to."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def write(self, data: bytes) -> int:
        self._channel.write(data)
        return len(data)


def _send(channel: Channel, top: Path, missing: list[LocalFile]) -> None:
    with tarfile.open(fileobj=cast("IO[bytes]", _Writer(channel)), mode="w|", bufsize=1 << 18) as archive:
        for item in missing:
            entry = tarfile.TarInfo(item.path)
            entry.size, entry.mode, entry.mtime = item.size, item.mode, item.mtime_ns // 10**9
            try:
                with (top / item.path).open("rb") as file:
                    archive.addfile(entry, file)
            except OSError as error:
                why = "it changed while it was sent" if error.errno is None else error.strerror
                raise CannotSync(f"--sync {top / item.path}: {why}; try again") from None
