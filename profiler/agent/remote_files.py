"""What a job left, for the desk: regular files below its folder and no links, whatever the run put there."""

import errno
import hashlib
import json
import os
import stat
from collections import deque
from typing import Any, BinaryIO, Dict, Iterator, List, Tuple

from edgeprof.profiler.agent.remote_protocol import BLOCK_BYTES, Refused, read_request

CAPTURE, STREAMS = "capture", ("stdout", "stderr")
"""What of a job's folder goes to the desk."""

MOST_FILES = 20000
"""Of a job; more are not sent."""

_MOST_PARTS = 8
_LONGEST_NAME = 255  # bytes, NAME_MAX of limits.h
_LONGEST_PATH = 4096  # characters
_TOP = (*STREAMS, CAPTURE)


def can_be_sent(path: str) -> bool:
    """Whether a path below a job's folder is one that the desk takes: of a capture, printable, and staying inside."""
    parts = path.split("/")
    if path not in STREAMS and (parts[0] != CAPTURE or not 3 <= len(parts) <= _MOST_PARTS):
        return False
    if len(path) > _LONGEST_PATH or not path.isprintable():  # a name that is no UTF-8 is not printable, either
        return False
    return all(part not in ("", ".", "..") and len(part.encode()) <= _LONGEST_NAME for part in parts)


def listing(folder: str, found: List[str]) -> Iterator[Dict[str, Any]]:
    """Path below the job's folder, size in bytes and SHA-256 of each of the files (None: it may not be read).

    Raises:
        OSError
    """
    for path in found:
        try:
            with open_below(folder, path) as file:
                digest = hashlib.sha256()
                size = 0
                for block in iter(lambda: file.read(BLOCK_BYTES), b""):
                    digest.update(block)
                    size += len(block)
        except (FileNotFoundError, Refused):
            continue
        except PermissionError:  # the program of another user wrote it
            yield {"path": path, "size": 0, "sha256": None}
            continue
        yield {"path": path, "size": size, "sha256": digest.hexdigest()}


def paths(folder: str) -> Tuple[List[str], int]:
    """The files that go to the desk, sorted by their path below the job's folder; how many files and folders do not.

    Raises:
        OSError
    """
    found: List[str] = []
    left_out = 0
    todo = deque(_TOP)  # what lies high up first: the collectors' own files before a heap that the workload left
    while todo:
        path = todo.popleft()
        try:
            mode = os.lstat(os.path.join(folder, path)).st_mode
            if stat.S_ISDIR(mode) and path.count("/") < _MOST_PARTS:
                # Hidden ones are temporary files and room that is set aside: an interrupted run leaves them.
                names = sorted(name for name in os.listdir(os.path.join(folder, path)) if not name.startswith("."))
                todo.extend(path + "/" + name for name in names)
            elif stat.S_ISREG(mode) and len(found) < MOST_FILES and can_be_sent(path):
                found.append(path)
            elif stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                left_out += 1
        except FileNotFoundError:  # the workload's leftovers may still be at it
            continue
        except PermissionError:
            left_out += 1
    return sorted(found), left_out


def send(folder: str, requests: BinaryIO, output: BinaryIO) -> None:
    """For each request ``{"path", "offset"}``: a line ``{"path", "offset", "size"}``, then so many bytes of the file.

    A file that cannot be sent has size 0 and an ``error``.  Where one shrinks meanwhile, zeros take the missing place.
    """
    while requests.peek(1):  # type: ignore[attr-defined]
        request = read_request(requests)
        path, offset = request.get("path"), request.get("offset", 0)
        if not isinstance(path, str) or not isinstance(offset, int) or isinstance(offset, bool) or offset < 0:
            raise Refused("a request to send needs a 'path' and an 'offset'")
        try:
            with open_below(folder, path) as file:
                send_part(file, path, offset, os.fstat(file.fileno()).st_size, output)
        except (Refused, FileNotFoundError, PermissionError) as error:
            why = str(error) if isinstance(error, Refused) else "{!r:.200}: {}".format(path, error.strerror)
            _head(output, {"path": path[:4096], "offset": offset, "size": 0, "error": why})
        output.flush()


def send_part(file: BinaryIO, path: str, offset: int, end: int, output: BinaryIO) -> None:
    """A file's bytes from ``offset`` to ``end``, after a line that announces them.  Raises OSError."""
    left = max(end - offset, 0)
    _head(output, {"path": path, "offset": offset, "size": left})
    while left:
        block = os.pread(file.fileno(), min(left, BLOCK_BYTES), offset)
        if not block:
            block = bytes(min(left, BLOCK_BYTES))
        output.write(block)
        offset += len(block)
        left -= len(block)


def open_below(folder: str, path: str) -> BinaryIO:
    """Open a job's file for reading: one that goes to the desk, through no link.  Raises Refused, OSError."""
    parts = path.split("/")
    if parts[0] not in _TOP or any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise Refused("{!r:.200} is not a job's file".format(path))
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    here = os.open(folder, flags | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        file = os.open(parts[-1], flags, dir_fd=here)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO):
            raise Refused("{!r:.200} is not a regular file".format(path)) from None
        raise
    finally:
        os.close(here)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise Refused("{!r:.200} is not a regular file".format(path))
    return os.fdopen(file, "rb", buffering=0)


def _head(output: BinaryIO, content: Dict[str, Any]) -> None:
    output.write(json.dumps(content).encode() + b"\n")
