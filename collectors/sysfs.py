"""Small reads and writes of /sys, /proc and cgroups while a run is set up or taken down (not for sampling).

Capture set.
"""

import fnmatch
import os
import re
from typing import List, Optional, Tuple


def read_text(path: str) -> Optional[str]:
    """A small file's text without surrounding blanks and NULs; None when it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(65536).decode("utf-8", "replace").strip(" \t\r\n\0")
    except OSError:
        return None


def read_number(path: str) -> Optional[int]:
    """The whole number in a small file; None when it cannot be read or is none."""
    text = read_text(path)
    try:
        return int(text) if text else None
    except ValueError:
        return None


def put(path: str, value: str) -> None:
    """Write a value to a file of the kernel's, in one write.  Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)


def children(folder: str, pattern: str = "*") -> List[str]:
    """Full paths of a folder's entries whose name matches, ``zone10`` after ``zone9``; empty without the folder."""
    try:
        names = fnmatch.filter(os.listdir(folder), pattern)
    except OSError:
        return []
    return [os.path.join(folder, name) for name in sorted(names, key=_natural)]


def _natural(name: str) -> List[Tuple[int, str]]:
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split("([0-9]+)", name)]
