"""What capture notes of devices and of the places where its own files lie on them (capture set)."""

import errno
import os
import struct
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple

from edgeprof.collectors.base import Roots

EXTENT = struct.Struct("<QQQ")
"""A record of extents.bin: device of the disk (major << 20 | minor), first sector of 512 bytes, sectors."""

_SECTOR_BYTES = 512
_MOST_FILES = 10_000
_MOST_SECONDS = 1.0
_FIEMAP = 0xC020660B  # FS_IOC_FIEMAP, linux/fs.h
_HEADER = struct.Struct("=QQLLLL")  # struct fiemap, linux/fiemap.h
_ENTRY = struct.Struct("=QQQQQLLLL")  # struct fiemap_extent
_ENTRIES = 256
_LAST = 0x1
_NOT_PLACED = 0x2 | 0x4 | 0x8 | 0x100 | 0x200  # unknown, delayed, encoded, not aligned, inline


def read_word(path: str) -> Optional[str]:
    """A small file's text without white space around it; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(4096).decode("utf-8", "replace").strip()
    except OSError:
        return None


def block_devices(roots: Roots) -> Dict[str, Dict[str, Any]]:
    """All block devices by ``major:minor``: ``name``; of a partition ``disk`` and ``start`` (sectors); of a disk
    ``queue`` (False where requests are not queued, as on zram) and ``scheduler``."""
    found: Dict[str, Dict[str, Any]] = {}
    folder = os.path.join(roots.sys, "dev", "block")
    try:
        numbers = os.listdir(folder)
    except OSError:
        return found
    for number in numbers:
        link = os.path.realpath(os.path.join(folder, number))
        facts: Dict[str, Any] = {"name": os.path.basename(link).replace("!", "/")}
        if os.path.exists(os.path.join(link, "partition")):
            facts["disk"] = read_word(os.path.join(os.path.dirname(link), "dev"))
            start = read_word(os.path.join(link, "start"))
            facts["start"] = int(start) if start and start.isdigit() else 0
        else:
            facts["queue"] = os.path.isdir(os.path.join(link, "mq"))
            facts["scheduler"] = _chosen(read_word(os.path.join(link, "queue", "scheduler")))
            facts["folder"] = link
            size = read_word(os.path.join(link, "size"))
            facts["sectors"] = int(size) if size and size.isdigit() else 0
        found[number] = facts
    return found


def _chosen(text: Optional[str]) -> Optional[str]:
    """The bracketed word of ``none [mq-deadline] bfq``."""
    if not text or "[" not in text:
        return text
    return text[text.index("[") + 1 :].partition("]")[0]


def traced_disks(devices: Dict[str, Dict[str, Any]], wanted: Sequence[str]) -> List[str]:
    """Numbers of the disks to trace: those wanted by name (with or without /dev), else all that queue requests."""
    names = {name[5:] if name.startswith("/dev/") else name for name in wanted}
    chosen = []
    for number, facts in devices.items():
        if not names:
            if facts.get("queue") and facts.get("sectors"):
                chosen.append(number)
        elif facts["name"] in names:
            chosen.append(facts.get("disk") or number)
    return sorted(set(chosen))


def filter_of(devices: Dict[str, Dict[str, Any]], disks: Sequence[str]) -> str:
    """The event filter that lets only these disks and their partitions pass."""
    numbers = [number for number, facts in devices.items() if number in disks or facts.get("disk") in disks]
    return " || ".join("dev == {}".format(_dev(number)) for number in sorted(numbers))


def _dev(number: str) -> int:
    major, _, minor = number.partition(":")
    return int(major) << 20 | int(minor)


def own_extents(folder: str, devices: Dict[str, Dict[str, Any]]) -> Tuple[bytes, bool]:
    """Where the files below ``folder`` lie on their disk, as `EXTENT` records, and whether all were asked.

    Data not yet written back have no place, and need none: no request for them can have been seen.
    """
    import fcntl

    deadline = time.monotonic() + _MOST_SECONDS
    records: List[bytes] = []
    asked = 0
    for path, _, names in os.walk(folder):
        for name in names:
            if asked >= _MOST_FILES or time.monotonic() > deadline:
                return b"".join(records), False
            asked += 1
            try:
                file = os.open(os.path.join(path, name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except OSError:
                continue
            try:
                place = _disk_of(os.fstat(file).st_dev, devices)
                if place is None:  # not on a disk: tmpfs, overlay, btrfs, network
                    continue
                for _, physical, length in _extents(fcntl.ioctl, file):
                    first = physical // _SECTOR_BYTES + place[1]
                    records.append(EXTENT.pack(place[0], first, -(-length // _SECTOR_BYTES)))
            except OSError:  # a file system without FIEMAP
                continue
            finally:
                os.close(file)
    return b"".join(records), True


def file_extents(path: str, devices: Dict[str, Dict[str, Any]]) -> Tuple[int, List[Tuple[int, int, int]]]:
    """Where a file lies: device of the disk (major << 20 | minor), and (offset in the file, first sector, bytes) of
    each extent.

    Raises:
        OSError: it is on no disk of this machine, or on a file system that does not tell.
    """
    import fcntl

    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)  # what is not written back has no place yet
        place = _disk_of(os.fstat(file).st_dev, devices)
        if place is None:
            raise OSError(errno.ENODEV, "it lies on no block device of its own", path)
        found = _extents(fcntl.ioctl, file)
    finally:
        os.close(file)
    return place[0], [(logical, physical // _SECTOR_BYTES + place[1], length) for logical, physical, length in found]


def _disk_of(device: int, devices: Dict[str, Dict[str, Any]]) -> Optional[Tuple[int, int]]:
    """The disk that holds a file system's device, and the sector where that begins on it."""
    number = "{}:{}".format(os.major(device), os.minor(device))
    facts = devices.get(number)
    if facts is None:
        return None
    if facts.get("disk"):
        return _dev(facts["disk"]), int(facts["start"])
    return _dev(number), 0


def _extents(ioctl: Any, file: int) -> List[Tuple[int, int, int]]:
    """(offset in the file, physical byte, length) of a file's extents.  Raises OSError."""
    found: List[Tuple[int, int, int]] = []
    start, end = 0, (1 << 63) - 1
    while start < end:
        request = bytearray(_HEADER.size + _ENTRIES * _ENTRY.size)
        _HEADER.pack_into(request, 0, start, end - start, 0, 0, _ENTRIES, 0)
        ioctl(file, _FIEMAP, request, True)
        mapped = min(_HEADER.unpack_from(request)[3], _ENTRIES)
        flags = _LAST
        for index in range(mapped):
            logical, physical, length, _, _, flags = _ENTRY.unpack_from(request, _HEADER.size + index * _ENTRY.size)[:6]
            start = logical + length
            if not flags & _NOT_PLACED:
                found.append((logical, physical, length))
        if flags & _LAST:
            break
    return found
