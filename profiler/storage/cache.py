"""The page cache of a data set: emptied or filled before a run, and measured."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from pathlib import Path

from edgeprof.collectors.sysfs import put
from edgeprof.profiler.agent import host
from edgeprof.profiler.storage.changes import Say
from edgeprof.profiler.storage.residency import Residency, residency
from edgeprof.profiler.units import human

COLD, WARM = 0.01, 0.99
"""Shares in memory below which a data set is cold, and from which it is warm."""
_ATTEMPTS = 4
_READ = 1 << 20
_DROP_CACHES = "/proc/sys/vm/drop_caches"


def make_cold(files: Sequence[Path], image: Path | None, say: Say) -> Residency:
    """Drop the files from the page cache; as root also whatever else is clean there, inodes and directories included.

    Args:
        files: of the data set.
        image: file behind the loop device that they lie on, which may be in the cache, too.
        say: told what stays in memory.
    """
    found = residency(())
    for attempt in range(_ATTEMPTS):
        time.sleep(0.2 * attempt)
        if files:
            settle(files[0])
        for path in (*files, *([image] if image else [])):
            _drop(path)
        dropped = _drop_all()
        found = residency(files)
        if found.share is None or found.share < COLD:
            break
    else:
        say(
            f"{human(found.share, 'share')} of the data set ({human(found.bytes, 'B')}) stays in memory, so its cache "
            "is not cold; end the programs that have its files open, or copy it to a file system of the run's own with "
            "--file-system"
        )
    if dropped:
        _drop_all()  # measuring has read inodes
    else:
        say("only root can drop all of the page cache, with inodes and directories; the data set's files were dropped")
    return found


def make_warm(files: Sequence[Path], memory_limit: int | None, say: Say) -> Residency:
    """Read the files until they are in memory, and say so where they do not fit."""
    found = residency(files)
    for _ in range(2):
        if found.share is None or found.share >= WARM:
            break
        for path in files:
            _read(path)
        found = residency(files)
    else:
        if found.share is not None and found.share < WARM:
            say(
                f"only {human(found.share, 'share')} of the data set ({human(found.total, 'B')}) stays in memory, so "
                f"its cache is not warm; {human(_available(), 'B')} of memory are available: take a smaller data set"
            )
    if memory_limit is not None and found.total > memory_limit:
        say(
            f"the data set ({human(found.total, 'B')}) is larger than the memory limit ({human(memory_limit, 'B')}); "
            "it stays in memory all the same, as what edgeprof has read counts as edgeprof's memory, not as the run's"
        )
    return found


def settle(path: Path) -> None:
    """Write what was just made on a path's file system: what is not on the disk cannot be dropped from memory, and
    would be written during the run.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # measuring will tell
        return
    try:
        ctypes.CDLL(None).syncfs(file)
    finally:
        os.close(file)


def _drop(path: Path) -> None:
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # measuring will tell
        return
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError:
        pass
    finally:
        os.close(file)


def _drop_all() -> bool:
    """Drop all that is clean: pages, directory entries, inodes; False where that is not allowed."""
    if os.geteuid() != 0:
        return False
    try:
        put(_DROP_CACHES, "3")
    except OSError:  # a container's /proc
        return False
    return True


def _read(path: Path) -> None:
    buffer = bytearray(_READ)
    try:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    except OSError:  # measuring will tell
        pass


def _available() -> int | None:
    """Bytes of memory that could be had without swapping (proc(5), MemAvailable)."""
    for line in (host.read_text("/proc/meminfo") or "").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
