"""How much of a set of files is in the page cache."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

_CACHESTAT = 451
"""System call number of cachestat(2) on every architecture but alpha; Linux 6.5."""
_PAGE = mmap.PAGESIZE
_CHUNK = 256 << 20
"""Bytes that are mapped at a time; a multiple of every page size."""
_PROT_READ, _MAP_SHARED, _MAP_FAILED = 1, 1, ctypes.c_void_p(-1).value


class Residency(NamedTuple):
    """What is in memory of some files; ``bytes`` is None where it cannot be told, with the reason."""

    bytes: int | None
    total: int
    files: int
    how: str = ""
    reason: str = ""

    @property
    def share(self) -> float | None:
        """Part of the files' pages that is in memory; None: not known, or there is nothing."""
        return self.bytes / self.total if self.bytes is not None and self.total else None

    def facts(self) -> dict[str, Any]:
        """For the manifest: share, bytes in memory, bytes of all pages, number of files, how it was measured."""
        known: dict[str, Any] = {"share": self.share, "bytes": self.bytes, "total": self.total, "files": self.files}
        known["how"] = self.how or None
        if self.bytes is None:
            known["reason"] = self.reason
        return known


class _Unknown(Exception):
    """The kernel does not tell."""


class _Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class _Stats(ctypes.Structure):
    """linux/mman.h, struct cachestat; counts are pages."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("cache", "dirty", "writeback", "evicted", "recently_evicted")]


def files_below(path: Path) -> list[Path]:
    """The regular files of a data set, each once, also where links lead to one; a file stands for itself."""
    found: dict[tuple[int, int], Path] = {}
    for item in _walk(path):
        try:
            facts = item.stat()
        except OSError:  # a link that leads nowhere
            continue
        if stat.S_ISREG(facts.st_mode):
            found.setdefault((facts.st_dev, facts.st_ino), item)
    return list(found.values())


def _walk(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            yield Path(folder, name)


def residency(files: Sequence[Path]) -> Residency:
    """Count the pages of ``files`` that are in memory, by cachestat(2) where the kernel has it, else by mincore(2).

    Opening a file brings its inode into memory, and none of its data.
    """
    resident = total = 0
    how, reason = "", ""
    for path in files:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME if _owned(path) else os.O_RDONLY)
        except OSError as error:
            reason = f"{path} cannot be opened: {error.strerror}"
            continue
        try:
            size = os.fstat(file).st_size
            total += -(-size // _PAGE) * _PAGE
            pages, way = _resident(file, size)
            resident, how = resident + pages * _PAGE, way or how
        except _Unknown as error:
            reason = f"{path}: {error}"
        finally:
            os.close(file)
    return Residency(None if reason else resident, total, len(files), how, reason)


def _owned(path: Path) -> bool:
    return os.geteuid() in (0, path.stat().st_uid)


def _resident(file: int, size: int) -> tuple[int, str]:
    """Pages of an open file that are in memory, and how they were counted."""
    if size == 0:
        return 0, ""
    libc = ctypes.CDLL(None, use_errno=True)
    stats = _Stats()
    if libc.syscall(_CACHESTAT, file, ctypes.byref(_Range(0, size)), ctypes.byref(stats), 0) == 0:
        return int(stats.cache), "cachestat"
    if ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP):  # EPERM: also a container's filter
        raise _Unknown(os.strerror(ctypes.get_errno()))
    return _by_mincore(libc, file, size), "mincore"


def _by_mincore(libc: Any, file: int, size: int) -> int:
    if not (_may_write(file) or os.geteuid() in (0, os.fstat(file).st_uid)):
        # mincore(2) answers "in memory" for all pages of such a file, so that nobody learns what others read.
        raise _Unknown("the kernel tells only the file's owner what of it is in memory; run edgeprof as the owner")
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_int64]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]
    resident = 0
    for start in range(0, size, _CHUNK):
        length = min(_CHUNK, size - start)
        place = libc.mmap(None, length, _PROT_READ, _MAP_SHARED, file, start)
        if place == _MAP_FAILED:
            raise _Unknown(os.strerror(ctypes.get_errno()))
        answer = ctypes.create_string_buffer(-(-length // _PAGE))
        try:
            if libc.mincore(place, length, answer) != 0:
                raise _Unknown(os.strerror(ctypes.get_errno()))
        finally:
            libc.munmap(place, length)
        resident += sum(byte & 1 for byte in answer.raw)
    return resident


def _may_write(file: int) -> bool:
    return os.access(f"/proc/self/fd/{file}", os.W_OK)
