"""Takes a folder from the desk: only files that were announced, each checked before it takes its place."""

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tarfile
from typing import Any, BinaryIO, Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from edgeprof.profiler.agent.remote_job import RUNNING, STARTING, all_jobs
from edgeprof.profiler.agent.remote_protocol import (
    BLOCK_BYTES,
    STORAGE,
    Refused,
    checked_name,
    private_folder,
    read_request,
)

LIST_BYTES = 8 << 20
"""The longest list of files, as a line of JSON."""

_SPARE_BYTES = 32 << 20
"""Of the board's disk that a folder does not fill: the capture needs room, too."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Announced(NamedTuple):
    """A file as the desk announced it."""

    path: str
    size: int
    mode: int
    mtime_ns: int
    sha256: str


def receive(name: str, requests: BinaryIO, answer: Callable[[Dict[str, Any]], None]) -> None:
    """Make ``HOME/sync/NAME`` like the desk's folder; files that were not received stay as they are.

    Reads the list of files; answers with the ``missing`` ones; reads a tar stream of them, unless there are none;
    answers with the ``folder``.  Files of an earlier call that are not announced any more are removed.

    Nothing takes its place before all of it has come and was checked.

    Raises:
        Refused, OSError
    """
    checked_name(name, "folder")
    top = private_folder("sync")
    folder = os.path.join(top, name)
    lock = os.open(os.path.join(top, ".{}.lock".format(name)), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("another edgeprof is sending {} right now; try again".format(name)) from None
        _receive(name, folder, requests, answer)
    finally:
        os.close(lock)


def _receive(name: str, folder: str, requests: BinaryIO, answer: Callable[[Dict[str, Any]], None]) -> None:
    announced = _announced(read_request(requests, LIST_BYTES))
    _check_unused(folder)
    if not stat.S_ISDIR(_mode(folder)):
        os.mkdir(folder, 0o700)
    before = _remembered(folder)
    missing = {item.path: item for item in announced if not _is_there(folder, item, before.get(item.path))}
    _check_space(folder, sum(item.size for item in missing.values()))
    answer({"missing": sorted(missing)})
    staging = os.path.join(os.path.dirname(folder), ".incoming-" + name)
    shutil.rmtree(staging, ignore_errors=True)
    os.mkdir(staging, 0o700)
    try:
        if missing:
            _take(requests, missing, staging)
        _put(folder, staging, sorted(missing))
        _remove(folder, set(before) - {item.path for item in announced})
        _remember(folder, announced)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    answer({"folder": folder})


def _announced(request: Dict[str, Any]) -> List[Announced]:
    """The desk's list, checked.  Raises Refused."""
    items = request.get("files")
    if not isinstance(items, list):
        raise Refused("the request has no list of 'files'")
    found: Dict[str, Announced] = {}
    folders: Set[str] = set()
    for item in items:
        one = _one(item)
        if one.path in found:
            raise Refused("{!r:.200} is announced twice".format(one.path))
        found[one.path] = one
        parts = one.path.split("/")
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
    both = folders & set(found)
    if both:
        raise Refused("{!r:.200} is announced as a file and as a folder".format(min(both)))
    return list(found.values())


def _one(item: Any) -> Announced:
    if not isinstance(item, dict) or set(item) != set(Announced._fields):
        raise Refused("an announced file needs {}".format(", ".join(Announced._fields)))
    one = Announced(**item)
    numbers = (one.size, one.mode, one.mtime_ns)
    if not isinstance(one.path, str) or not all(type(number) is int and 0 <= number < 1 << 63 for number in numbers):
        raise Refused("an announced file has a wrong field: {!r:.300}".format(item))
    if not _is_below(one.path):
        raise Refused("{!r:.200} is no path below the folder".format(one.path))
    if not isinstance(one.sha256, str) or not _SHA256.fullmatch(one.sha256):
        raise Refused("{!r:.200} is announced without its SHA-256".format(one.path))
    return one


def _is_below(path: str) -> bool:
    """Whether a path cannot leave its folder."""
    return len(path) <= 1024 and not any(part in ("", ".", "..") or "\0" in part for part in path.split("/"))


def _check_unused(folder: str) -> None:
    """Raises Refused where a job works in the folder: its files must not change below it."""
    for job in all_jobs():
        try:
            state = job.told()
        except Refused:
            continue
        cwd = str(state["cwd"]) + "/"
        if state["state"] in (STARTING, RUNNING) and cwd.startswith(os.path.realpath(folder) + "/"):
            raise Refused("the job {} works in {} right now; wait for its end".format(job.name, folder))


def _check_space(folder: str, size: int) -> None:
    space = os.statvfs(folder)
    free = space.f_bavail * space.f_frsize
    if size and size + _SPARE_BYTES > free:
        raise Refused(
            "the folder needs {} MiB more on the board, and {} MiB are free there: make room, or send less".format(
                -(-size >> 20), free >> 20
            ),
            STORAGE,
        )


def _is_there(folder: str, item: Announced, before: Optional[str]) -> bool:
    """Whether the file is there already; ``before``: the SHA-256 with which it was received.

    It is read where its time of change is not that of the desk's file.
    """
    here, name = _enter(folder, item.path, make=False)
    if here < 0:
        return False
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
    except OSError:
        return False
    finally:
        os.close(here)
    try:
        facts = os.fstat(file)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size != item.size:
            return False
        if facts.st_mtime_ns != item.mtime_ns or before != item.sha256:
            digest = hashlib.sha256()
            for block in iter(lambda: os.read(file, BLOCK_BYTES), b""):
                digest.update(block)
            if digest.hexdigest() != item.sha256:
                return False
        _adapt(file, item)
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def _take(requests: BinaryIO, missing: Dict[str, Announced], staging: str) -> None:
    """Read the tar stream; file number n of the sorted missing ones becomes ``staging/n``.  Raises Refused, OSError."""
    numbers = {path: number for number, path in enumerate(sorted(missing))}
    left = set(missing)
    try:
        with tarfile.open(fileobj=requests, mode="r|") as archive:
            for member in archive:
                item = missing.get(member.name)
                if item is None or member.name not in left:
                    raise Refused("the stream holds {!r:.200}, which was not announced".format(member.name))
                if not member.isreg() or member.issparse() or member.size != item.size:
                    raise Refused("{!r:.200} came as something else than was announced".format(member.name))
                left.discard(member.name)
                content = archive.extractfile(member)
                assert content is not None
                _store(content, item, os.path.join(staging, str(numbers[member.name])))  # type: ignore[arg-type]
                archive.members = []  # type: ignore[attr-defined]  # else it remembers all of them
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        raise Refused("the stream of files is cut or damaged ({}); try again".format(error)) from None
    if left:
        raise Refused("{!r:.200} was announced and did not come; try again".format(min(left)))


def _store(content: BinaryIO, item: Announced, path: str) -> None:
    digest = hashlib.sha256()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for block in iter(lambda: content.read(BLOCK_BYTES), b""):
            digest.update(block)
            view = memoryview(block)
            while view:
                view = view[os.write(file, view) :]
        if digest.hexdigest() != item.sha256:
            raise Refused("{!r:.200} did not come as it was announced (its SHA-256 differs)".format(item.path))
        _adapt(file, item)
    finally:
        os.close(file)


def _adapt(file: int, item: Announced) -> None:
    os.fchmod(file, item.mode & 0o777 | 0o600)
    os.utime(file, ns=(item.mtime_ns, item.mtime_ns))


def _put(folder: str, staging: str, paths: List[str]) -> None:
    """Move what was received to its place, one rename each; what stands in the way and is no such thing, goes."""
    for number, path in enumerate(paths):
        here, name = _enter(folder, path, make=True)
        try:
            if stat.S_ISDIR(_mode(name, here)):
                shutil.rmtree(os.path.join(folder, path))
            os.rename(os.path.join(staging, str(number)), name, dst_dir_fd=here)
        finally:
            os.close(here)


def _record(folder: str) -> str:
    return os.path.join(os.path.dirname(folder), ".{}.json".format(os.path.basename(folder)))


def _remembered(folder: str) -> Dict[str, str]:
    """What an earlier call received: SHA-256 by path; nothing where that is not known."""
    try:
        with open(_record(folder), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    pairs = found.items() if isinstance(found, dict) else ()
    return {path: digest for path, digest in pairs if _is_below(path) and isinstance(digest, str)}


def _remember(folder: str, announced: List[Announced]) -> None:
    temporary = _record(folder) + ".tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump({item.path: item.sha256 for item in announced}, file)
    os.replace(temporary, _record(folder))


def _remove(folder: str, paths: Set[str]) -> None:
    """Remove files, where they are files still."""
    for path in sorted(paths):
        here, name = _enter(folder, path, make=False)
        if here < 0:
            continue
        try:
            os.unlink(name, dir_fd=here)
        except OSError:  # it is gone, or a folder by now
            pass
        finally:
            os.close(here)


def _enter(folder: str, path: str, make: bool) -> Tuple[int, str]:
    """Open the folder of a path below ``folder``, through no link; and the path's last part.

    Without ``make``, -1 where there is no such folder; with it, folders are made, in the place of whatever is there.
    """
    *parts, name = path.split("/")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    here = os.open(folder, flags)
    for part in parts:
        if make and not stat.S_ISDIR(_mode(part, here)):
            try:
                os.unlink(part, dir_fd=here)
            except FileNotFoundError:
                pass
            os.mkdir(part, 0o700, dir_fd=here)
        try:
            below = os.open(part, flags, dir_fd=here)
        except OSError:
            os.close(here)
            if make:
                raise
            return -1, name
        os.close(here)
        here = below
    return here, name


def _mode(path: str, folder: int = -1) -> int:
    """The mode of a path, below an open folder where one is given; 0: there is nothing."""
    try:
        return os.lstat(path, dir_fd=folder if folder >= 0 else None).st_mode
    except FileNotFoundError:
        return 0
