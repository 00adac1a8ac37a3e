"""A disk to tune: which it is, the file systems on it, its counters, its read-ahead."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import NamedTuple

from edgeprof.collectors.sysfs import read_text
from edgeprof.kmodule.tuning.errors import CannotTune, Gone
from edgeprof.profiler.agent.undo_read_ahead import kernel_number
from edgeprof.profiler.storage.disk import SYS, disk_of

SECTOR = 512
"""Bytes of a sector in /sys/block/DISK/stat, whatever the disk's own are (Documentation/block/stat.rst)."""

_MINOR_BITS = 20
"""Of a device number inside the kernel, as its events give it (include/linux/kdev_t.h)."""


class Moved(NamedTuple):
    """What a disk has moved since it is there."""

    read_bytes: int
    written_bytes: int
    reads: int


class Target:
    """A whole disk.  Its files are kept open, so that another disk that gets its name is never taken for it.

    Attributes:
        name: the kernel's name.
        numbers: device numbers, as the kernel's events give them, of the file systems on it.
        read_ahead_paths: where its read-ahead is set: the disk's, and that of a btrfs on it.

    Raises:
        CannotTune: there is no such disk, or it has no read-ahead to set.
    """

    def __init__(self, text: str) -> None:
        folder, places = _find(text)
        self.name = folder.name
        self.folder = folder
        self.numbers = _numbers(folder)
        self.read_ahead_paths = tuple(places)
        self._open: list[int] = []
        try:
            self._counters = self._keep(folder / "stat", os.O_RDONLY)
            self._ahead = [self._keep(path, os.O_RDWR) for path in places]
        except OSError as error:
            self.close()
            raise CannotTune(
                f"{error.filename} cannot be opened ({error.strerror}); tuning needs root, and a /sys that is writable"
            ) from None

    def close(self) -> None:
        """Close its files."""
        for descriptor in self._open:
            os.close(descriptor)
        self._open = []

    def moved(self) -> Moved:
        """Raises Gone."""
        words = self._read(self._counters).split()
        return Moved(int(words[2]) * SECTOR, int(words[6]) * SECTOR, int(words[0]))

    def read_ahead_kib(self) -> int:
        """Raises Gone."""
        return int(self._read(self._ahead[0]))

    def set_read_ahead(self, kib: int) -> int:
        """Set it, for files that are opened from now on; what the kernel made of it.  Raises Gone."""
        for descriptor in self._ahead:
            try:
                os.pwrite(descriptor, b"%d" % kib, 0)
            except OSError:
                raise Gone(self.name) from None
        return self.read_ahead_kib()

    def _keep(self, path: Path, flags: int) -> int:
        self._open.append(os.open(path, flags | os.O_CLOEXEC))
        return self._open[-1]

    def _read(self, descriptor: int) -> bytes:
        try:
            text = os.pread(descriptor, 512, 0)
        except OSError:
            raise Gone(self.name) from None
        if not text:
            raise Gone(self.name)
        return text


def _find(text: str) -> tuple[Path, list[Path]]:
    """The disk's folder in /sys, and where its read-ahead is set."""
    path = Path(text) if "/" in text else Path("/dev") / text
    try:
        facts = path.stat()
    except OSError as error:
        raise CannotTune(f"{path}: {error.strerror}; name a disk, as `lsblk` lists them, or a folder on one") from None
    if not stat.S_ISBLK(facts.st_mode):
        disk = disk_of(path)
        if not disk.name:
            raise CannotTune(f"{path} lies on {disk.source or disk.file_system}, which is no disk of this machine")
        return (SYS / "block" / disk.name).resolve(), list(disk.read_ahead)
    folder = (SYS / "dev/block" / f"{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}").resolve()
    folder = folder.parent if (folder / "partition").exists() else folder
    own = _numbers(folder)
    for mount in _mounts():
        if mount.number in own or mount.device in own:
            return folder, list(disk_of(Path(mount.place)).read_ahead)
    return folder, [folder / "queue" / "read_ahead_kb"]


class _Mount(NamedTuple):
    """A line of mountinfo: the file system's number, the number of the device that it is on (0: none), its place."""

    number: int
    device: int
    place: str


def _mounts() -> list[_Mount]:
    found = []
    for line in (read_text("/proc/self/mountinfo") or "").splitlines():
        mount, _, source = line.partition(" - ")
        words, rest = mount.split(), source.split()
        try:
            facts = Path(rest[1]).stat()
            device = kernel_number(facts.st_rdev) if stat.S_ISBLK(facts.st_mode) else 0
        except (OSError, IndexError):
            device = 0
        found.append(_Mount(_parsed(words[2]), device, words[4].encode().decode("unicode_escape")))
    return found


def _numbers(folder: Path) -> frozenset[int]:
    """Of the disk, its partitions, and of a btrfs on them, which has a number of its own (proc_pid_mountinfo(5))."""
    texts = [read_text(str(path)) for path in (folder / "dev", *folder.glob("*/dev"))]
    own = {_parsed(text) for text in texts if text and ":" in text}
    return frozenset(own | {mount.number for mount in _mounts() if mount.device in own})


def _parsed(pair: str) -> int:
    major, _, minor = pair.partition(":")
    return int(major) << _MINOR_BITS | int(minor)
