"""Gathers what later tells a file's path from its device and inode (capture set).

The trace is not read while it is captured, so which inodes matter is not known
yet: names are gathered within limits of entries and time, and joined later.
"""

import collections
import os
import struct
import time
from typing import Deque, Dict, List, NamedTuple, Sequence, Set, Tuple

from edgeprof.collectors.base import FrameWriter, Roots

ENTRY = struct.Struct("<QH")
"""Head of a folder frame (device, bytes of its path) and of each file in it (inode, bytes of its name)."""

MAX_ENTRIES = 200_000
MAX_SECONDS = 2.0
"""What listing folders at the end may cost."""

_FIRST_MAPS_NS = 1_000_000_000
_MAX_MAPS_BYTES = 4 << 20
_MAX_FOLDERS = 4096
_MAX_DESCRIPTORS = 64
_MAX_PROCESSES = 32
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/run", "/var", "/boot")
"""Folders whose neighbours hold no data sets."""


class Listed(NamedTuple):
    """How much was listed; ``whole`` is False when a limit ended it."""

    folders: int
    files: int
    whole: bool


class PathGatherer:
    """Writes frames with the sources ``mounts``, ``maps`` and ``folder``.

    ``mounts`` is /proc/self/mountinfo, ``maps`` are /proc/PID/maps, and a ``folder`` frame is an `ENTRY` (device as
    major << 20 | minor, length), the folder's path, and for each file an `ENTRY` (inode, length) and its name.
    """

    def __init__(self, writer: FrameWriter, roots: Roots) -> None:
        self._writer = writer
        self._proc = roots.proc
        self._pseudo = (roots.proc, roots.sys, roots.dev)
        self._maps, self._folder = writer.source("maps"), writer.source("folder")
        self._mounts = writer.source("mounts")
        self._seen: Dict[str, None] = {}
        self._maps_due: Dict[int, Tuple[int, int]] = {}

    def look(self, now_ns: int, pids: Sequence[int]) -> None:
        """See which folders the run reads from, and copy the memory map of at most one of its processes."""
        pids = pids[:_MAX_PROCESSES]
        for pid in pids:
            self._see_descriptors(pid)
        for pid in pids:
            due, wait = self._maps_due.get(pid, (0, 0))
            if not due:
                self._maps_due[pid] = (now_ns + _FIRST_MAPS_NS, _FIRST_MAPS_NS)
            elif now_ns >= due:  # ever more seldom: a map of thousands of lines costs the kernel a millisecond
                self._maps_due[pid] = (now_ns + 2 * wait, 2 * wait)
                self._copy(now_ns, self._maps, "{}/{}/maps".format(self._proc, pid))
                break

    def _see_descriptors(self, pid: int) -> None:
        folder = "{}/{}/fd/".format(self._proc, pid)
        try:
            names = os.listdir(folder)
        except OSError:  # it has ended
            return
        for name in names[-_MAX_DESCRIPTORS:]:  # data files are opened last
            try:
                path = os.readlink(folder + name)
            except OSError:
                continue
            if path.startswith("/") and len(self._seen) < _MAX_FOLDERS:
                self._seen[path.rpartition("/")[0] or "/"] = None

    def _copy(self, now_ns: int, source: int, path: str) -> None:
        parts: List[bytes] = []
        try:
            with open(path, "rb", buffering=0) as file:
                while sum(map(len, parts)) < _MAX_MAPS_BYTES:  # the kernel gives a page at a time
                    part = file.read(1 << 16)
                    if not part:
                        break
                    parts.append(part)
        except OSError:
            return
        self._writer.frame(now_ns, source, b"".join(parts))
        self._writer.flush()

    def finish(self, given: Sequence[str], cwd: str) -> Listed:
        """List folders: first those given, with all below; those the run was seen to read from; then ``cwd`` and the
        neighbours of those, with all below.  Raises OSError when the frames cannot be written."""
        self._copy(time.monotonic_ns(), self._mounts, "{}/self/mountinfo".format(self._proc))
        queue: Deque[Tuple[str, bool]] = collections.deque((path, True) for path in given)
        queue.extend((path, False) for path in self._seen)
        if cwd:
            queue.append((cwd, True))
        queue.extend((path, True) for path in dict.fromkeys(map(os.path.dirname, self._seen)) if _may_hold_data(path))
        return self._list(queue, time.monotonic() + MAX_SECONDS)

    def _list(self, queue: Deque[Tuple[str, bool]], deadline: float) -> Listed:
        done: Set[Tuple[int, int]] = set()  # listed
        entered: Set[Tuple[int, int]] = set()  # listed with all below
        files = entries = 0
        while queue:
            path, below = queue.popleft()
            if entries >= MAX_ENTRIES or time.monotonic() > deadline:
                return Listed(len(done), files, False)
            if path.startswith(self._pseudo):
                continue
            try:
                stat = os.stat(path)
                identity = (stat.st_dev, stat.st_ino)
                if identity in entered or (identity in done and not below):
                    continue
                found, folders, count = _scan(path, MAX_ENTRIES - entries)
            except OSError:  # gone meanwhile, or not ours to read
                continue
            entries += count
            if below:
                entered.add(identity)
                queue.extend((folder, True) for folder in folders)
            if identity not in done:
                done.add(identity)
                files += len(found) // 2
                self._write_folder(path, os.major(stat.st_dev) << 20 | os.minor(stat.st_dev), found)
        return Listed(len(done), files, True)

    def _write_folder(self, path: str, device: int, found: List[bytes]) -> None:
        name = os.fsencode(path)
        if found and len(name) < 1 << 16:
            self._writer.frame(
                time.monotonic_ns(), self._folder, ENTRY.pack(device, len(name)) + name + b"".join(found)
            )
            self._writer.flush()


def _scan(path: str, most: int) -> Tuple[List[bytes], List[str], int]:
    """A folder's files (head and name of each in turn), the folders in it, and how many entries were seen."""
    found: List[bytes] = []
    folders: List[str] = []
    count = 0
    with os.scandir(path) as entries:
        for entry in entries:
            count += 1
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                name = os.fsencode(entry.name)
                found += (ENTRY.pack(entry.inode(), len(name)), name)
            if count >= most:
                break
    return found, folders, count


def _may_hold_data(path: str) -> bool:
    return path.count("/") >= 2 and not any(path == top or path.startswith(top + "/") for top in _SYSTEM)
