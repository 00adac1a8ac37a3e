"""Undoes what a run's storage was prepared with: loop devices, files and folders, swap, zram; see `undo`."""

import ctypes
import errno
import fcntl
import os
import stat
import struct
import time
from typing import Any, Dict, List, Optional, Tuple

from edgeprof.collectors.sysfs import put

_LOOP_CLR_FD, _LOOP_GET_STATUS64 = 0x4C01, 0x4C05  # linux/loop.h
_LOOP_INFO64_BYTES = 232

_PATIENCE = 5.0
"""Seconds that a loop device whose file system was just unmounted is given to become free."""


def undo_loop(entry: Dict[str, Any]) -> str:
    """Detach the loop devices over the image file that the entry names by device and inode number, and no others."""
    image = (int(entry["device"]), int(entry["inode"]))
    names = [name for name in _attached() if loop_file(name) == image]
    for name in names:
        _detach(name, image)
    return "detached {}".format(", ".join(names)) if names else ""


def _attached() -> List[str]:
    names = [name for name in os.listdir("/sys/block") if name.startswith("loop")]
    return sorted(name for name in names if os.path.exists("/sys/block/{}/loop/backing_file".format(name)))


def loop_file(name: str) -> Optional[Tuple[int, int]]:
    """Device and inode number of the file behind a loop device; None: there is none (any more)."""
    answer = bytearray(_LOOP_INFO64_BYTES)
    try:
        descriptor = os.open("/dev/" + name, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            return None
        raise
    try:
        fcntl.ioctl(descriptor, _LOOP_GET_STATUS64, answer)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise
    finally:
        os.close(descriptor)
    device, inode = struct.unpack_from("=QQ", answer)
    return device, inode


def _detach(name: str, image: Tuple[int, int]) -> None:
    descriptor = os.open("/dev/" + name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _LOOP_CLR_FD)
    except OSError as error:
        if error.errno != errno.ENXIO:  # detached meanwhile
            raise
    finally:
        os.close(descriptor)
    deadline = time.monotonic() + _PATIENCE
    while loop_file(name) == image:  # where something else has it open, the kernel detaches it later, by itself
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, "/dev/{} is still in use".format(name))
        time.sleep(0.02)


def undo_file(entry: Dict[str, Any]) -> str:
    """Remove a file, or a folder that is empty by now."""
    path = entry["path"]
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)
    except FileNotFoundError:
        return ""
    return "removed {}".format(path)


def undo_swap(entry: Dict[str, Any]) -> str:
    """Stop swapping to a device; what lies there comes back to memory."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.swapoff(os.fsencode(entry["path"])) != 0:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOENT, errno.ENXIO):  # it is no swap (any more)
            return ""
        raise OSError(number, os.strerror(number))
    return "stopped swapping to {}".format(entry["path"])


def undo_zram(entry: Dict[str, Any]) -> str:
    """Remove a zram device: the one of a number, or an empty one that came since the entry was written."""
    if "number" in entry:
        wanted, sizes = [int(entry["number"])], {0, int(entry["bytes"])}
    else:
        wanted, sizes = sorted(set(zram_numbers()) - set(map(int, entry["known"]))), {0}
    removed = []
    for number in wanted:
        folder = "/sys/block/zram{}".format(number)
        try:
            with open(folder + "/disksize") as file:
                if int(file.read()) not in sizes:
                    continue  # another's by now
            put(folder + "/reset", "1")
            put("/sys/class/zram-control/hot_remove", str(number))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENODEV):
                continue
            raise
        removed.append("zram{}".format(number))
    return "removed {}".format(", ".join(removed)) if removed else ""


def zram_numbers() -> List[int]:
    """The zram devices that there are."""
    names = [name[len("zram") :] for name in os.listdir("/sys/block") if name.startswith("zram")]
    return [int(name) for name in names if name.isdecimal()]


def users_of(folder: str, proc: str = "/proc") -> str:
    """Which processes work in a folder or have files open below it, as the end of a sentence; empty: none is seen."""
    found = []
    for pid in filter(str.isdecimal, os.listdir(proc)):
        base = "{}/{}/".format(proc, pid)
        try:
            links = [base + "cwd", base + "exe", *(base + "fd/" + name for name in os.listdir(base + "fd"))]
            if any((_target(link) + "/").startswith(folder + "/") for link in links):
                with open(base + "comm") as file:
                    found.append("{} {}".format(file.read().strip(), pid))
        except OSError:  # it has ended, or is another user's
            continue
    return " (in use by {})".format(", ".join(found)) if found else ""


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""
