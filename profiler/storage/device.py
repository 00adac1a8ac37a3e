"""Whether a block device may be formatted: never one that is in use, and one that holds data only if named twice."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from edgeprof.collectors.helper import ask
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.storage.tools import find_tool

_LOOKED_AT = 1 << 20
"""Bytes at the start and the end of a device where partition tables, file systems and volumes have their labels."""


def check_device(path: str, erase: str) -> str:
    """Kernel name of a block device that may be formatted; reads from it, and changes nothing.

    Args:
        path: the device.
        erase: its name again, where what it holds may be lost.

    Raises:
        EdgeprofError: it may not, or it is no block device.
    """
    if erase and os.path.realpath(erase) != os.path.realpath(path):
        raise EdgeprofError(
            f"--erase names {erase} and --fs-device {path}; name the same device twice, or leave one out"
        )
    try:
        facts = Path(path).stat()
    except OSError as error:
        raise EdgeprofError(f"there is no device {path}: {error.strerror}; `lsblk` lists those there are") from None
    if not stat.S_ISBLK(facts.st_mode):
        raise EdgeprofError(f"{path} is not a block device; `lsblk` lists those there are")
    number = f"{os.major(facts.st_rdev)}:{os.minor(facts.st_rdev)}"
    folder = Path(f"/sys/dev/block/{number}").resolve()
    used = _use(folder)
    if used:
        raise EdgeprofError(f"{path} is in use ({used}) and is never formatted; name another device")
    content = _content(path)
    if content and not erase:
        raise EdgeprofError(
            f"{path} holds data ({content}); if it may be lost, name the device again with --erase {path}"
        )
    return folder.name


def _use(folder: Path) -> str:
    """What uses a device or one of its partitions, as far as the system tells; empty: nothing that is known."""
    devices = [folder, *(item.parent for item in folder.glob("*/partition"))]
    numbers = {_text(item / "dev"): item.name for item in devices}
    for line in _text(Path("/proc/self/mountinfo")).splitlines():
        fields = line.split()
        if fields[2] in numbers:
            return f"{numbers[fields[2]]} is mounted on {fields[4]}"
    for line in _text(Path("/proc/swaps")).splitlines()[1:]:
        device = Path(line.split()[0])
        if device.exists():
            found = device.stat().st_rdev
            if f"{os.major(found)}:{os.minor(found)}" in numbers:
                return f"the machine swaps to {device}"
    for item in devices:
        holders = sorted(holder.name for holder in (item / "holders").glob("*"))
        if holders:
            return f"{', '.join(holders)} lies on {item.name}"
    return ""


def _content(path: str) -> str:
    """What a device holds; empty: its start and its end are all zero.

    Opening it exclusively fails while a file system, RAID or other program claims it or one of its partitions.
    """
    try:
        device = os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise EdgeprofError(f"{path} is in use and is never formatted; name another device") from None
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise EdgeprofError(f"{path} cannot be written to: {error.strerror}; name another device") from None
        raise EdgeprofError(f"{path} cannot be opened: {error.strerror}; name another device") from None
    try:
        size = os.lseek(device, 0, os.SEEK_END)
        # What may lie in memory from before is not what the device holds.
        os.posix_fadvise(device, 0, 0, os.POSIX_FADV_DONTNEED)
        zero = all(not any(os.pread(device, _LOOKED_AT, at)) for at in (0, max(0, size - _LOOKED_AT)))
    except OSError as error:
        raise EdgeprofError(f"{path} cannot be read: {error.strerror}; name another device") from None
    finally:
        os.close(device)
    if size == 0:
        raise EdgeprofError(f"{path} has no medium in it; name another device")
    return "" if zero else _label(path) or "its first or last MiB is not all zero"


def _label(path: str) -> str:
    """What blkid takes the content for; empty where it cannot tell, or is not there."""
    tool = find_tool("blkid")
    if tool is None:
        return ""
    answer = ask([tool, "-p", "-o", "export", path], 10)
    found = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    return found.get("TYPE") or (f"a {found['PTTYPE']} partition table" if "PTTYPE" in found else "")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
