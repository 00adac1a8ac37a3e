"""The manifest: what was asked for, on what machine, what was captured, and what it cost."""

import json
import os
from typing import Any, Dict

SCHEMA_VERSION = 1
FINAL = "manifest.json"
PARTIAL = "manifest.partial.json"
"""Written at the start; an interrupted run has only this one."""

_RESERVE = ".reserve"
_RESERVE_BYTES = 1 << 20


def write_json(folder: str, name: str, content: Dict[str, Any]) -> None:
    """Write a JSON file atomically: temporary name, fsync, rename, fsync of the folder.  Raises OSError."""
    temporary = os.path.join(folder, "." + name + ".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, os.path.join(folder, name))
    except OSError:
        os.unlink(temporary)
        raise
    directory = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def reserve_space(folder: str) -> None:
    """Set aside the manifest's room, so that a disk that fills up during the run does not cost it."""
    descriptor = os.open(os.path.join(folder, _RESERVE), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
    finally:
        os.close(descriptor)


def free_reserve(folder: str) -> None:
    """Give the reserved room back."""
    try:
        os.unlink(os.path.join(folder, _RESERVE))
    except FileNotFoundError:
        pass
