"""Puts a disk's read-ahead back, also for files that are open; and lets open files follow the disk's read-ahead.

A file keeps the read-ahead that the disk had when it was opened.  POSIX_FADV_NORMAL gives it the disk's of now
(mm/fadvise.c of the kernel).  It is a property of the open file, which a process with CAP_SYS_PTRACE can share by
pidfd_getfd(2), since Linux 5.6; mappings of the same open file follow.  A program's own POSIX_FADV_RANDOM or SEQUENTIAL
is lost thereby: nothing in the kernel tells that it was given.
"""

import ctypes
import os
import stat
from typing import Any, Dict, Iterable, Optional, Set, Union

from edgeprof.collectors.sysfs import put

MOST_FILES = 256
"""Descriptors that are looked at in one call, unless it says otherwise."""

_MINOR_BITS = 20  # of a device number inside the kernel: include/linux/kdev_t.h
_PIDFD_OPEN, _PIDFD_GETFD = 434, 438  # asm-generic/unistd.h; the same on x86-64


def undo_read_ahead(entry: Dict[str, Any]) -> str:
    """Set a disk's read-ahead to what it was, then that of all files open on it.  Raises OSError."""
    if not os.path.exists(entry["path"]):
        return ""
    put(entry["path"], entry["old"])
    told = 0
    if entry.get("open_files"):
        processes = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        told = give_normal_advice(processes, set(entry["numbers"]), most=None)
    return "restored {}".format(entry["path"]) + (", also for {} open descriptors".format(told) if told else "")


def give_normal_advice(tasks: Iterable[int], numbers: Set[int], most: Optional[int] = MOST_FILES) -> int:
    """Let the files on these devices that the tasks' processes have open follow the disk.

    Returns how many descriptors do; two may lead to one open file.  A process that has ended, or may not be touched, is
    left out.  ``numbers`` are the kernel's.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    told = looked = 0
    for process in sorted({_process_of(task) for task in tasks} - {0, os.getpid()}):
        try:
            names = os.listdir("/proc/{}/fd".format(process))
        except OSError:
            continue
        handle = libc.syscall(_PIDFD_OPEN, process, 0)
        if handle < 0:
            continue
        try:
            for name in names:
                looked += 1
                if most is not None and looked > most:
                    return told
                if _lies_on("/proc/{}/fd/{}".format(process, name), numbers):
                    told += _advise(libc, handle, int(name), numbers)
        finally:
            os.close(handle)
    return told


def kernel_number(number: int) -> int:
    """A device number of stat(2) as the kernel's events give it."""
    return os.major(number) << _MINOR_BITS | os.minor(number)


def _process_of(task: int) -> int:
    """The process of a task (thread); 0: it has ended."""
    try:
        with open("/proc/{}/status".format(task), "rb") as file:
            return int(file.read().partition(b"\nTgid:")[2].split(None, 1)[0])
    except (OSError, ValueError, IndexError):
        return 0


def _lies_on(file: Union[str, int], numbers: Set[int]) -> bool:
    try:
        facts = os.stat(file)
    except OSError:
        return False
    return stat.S_ISREG(facts.st_mode) and kernel_number(facts.st_dev) in numbers


def _advise(libc: Any, handle: int, descriptor: int, numbers: Set[int]) -> bool:
    shared = libc.syscall(_PIDFD_GETFD, handle, descriptor, 0)
    if shared < 0:
        return False
    try:
        if not _lies_on(shared, numbers):  # the process has put another file in its place
            return False
        os.posix_fadvise(shared, 0, 0, os.POSIX_FADV_NORMAL)
        return True
    except OSError:
        return False
    finally:
        os.close(shared)
