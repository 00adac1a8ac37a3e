"""Takes a file system off the host while a guest has its image."""

from __future__ import annotations

import ctypes
import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

_PATIENCE = 5.0
"""Seconds that a busy file system is given to become free."""
_FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024, "nodiratime": 2048, "relatime": 1 << 21}
"""linux/mount.h"""


class Mount(NamedTuple):
    """A line of mountinfo (proc(5))."""

    source: str
    file_system: str
    flags: int
    options: str


def mount_at(target: Path) -> Mount | None:
    """What is mounted at a folder, the topmost; None: nothing is."""
    found = None
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if _plain(fields[4]) == str(target) and len(kind) >= 3:
            words = set(fields[5].split(","))
            flags = sum(bit for word, bit in _FLAGS.items() if word in words)
            options = ",".join(word for word in kind[2].split(",") if word not in ("rw", "ro"))
            found = Mount(_plain(kind[1]), kind[0], flags, options)
    return found


def _plain(text: str) -> str:
    for code, char in ((r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", "\\")):
        text = text.replace(code, char)
    return text


@contextmanager
def away(target: Path) -> Iterator[None]:
    """Unmount what is mounted at ``target`` and mount it again on leaving.

    Raises:
        OSError: something uses it, or it cannot be mounted again.
    """
    found = mount_at(target)
    if found is None:
        yield
        return
    libc: Any = ctypes.CDLL(None, use_errno=True)
    deadline = time.monotonic() + _PATIENCE
    while libc.umount2(os.fsencode(target), 0) != 0:
        number = ctypes.get_errno()
        if number != errno.EBUSY or time.monotonic() > deadline:
            raise OSError(number, os.strerror(number), str(target))
        time.sleep(0.05)
    try:
        yield
    finally:
        words = [text.encode() for text in (found.source, str(target), found.file_system)]
        if libc.mount(*words, found.flags, found.options.encode()) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(target))
