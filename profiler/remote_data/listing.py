"""``files.json`` of a run at an address: which files were pushed, with size and sha256.

It is written before the files and the manifest after them, so that a run without a manifest is one whose push is not
over, and what is there can be told from what is still to come.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = "files.json"
_VERSION = 1


@dataclass(frozen=True)
class Pushed:
    """A file as it was pushed: size in bytes, sha256 in hex."""

    size: int
    sha256: str


def dump(files: Mapping[str, Pushed]) -> bytes:
    """The file's bytes."""
    content = {"version": _VERSION, "files": {name: asdict(about) for name, about in sorted(files.items())}}
    return json.dumps(content, indent=1).encode()


def load(data: bytes | None) -> dict[str, Pushed]:
    """What `dump` wrote, by name; empty where there is none, or it is damaged or of another version."""
    try:
        content = json.loads(data or b"")
        if content["version"] != _VERSION:
            return {}
        found = {name: Pushed(about["size"], about["sha256"]) for name, about in content["files"].items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {name: about for name, about in found.items() if _is_whole(about)}


def _is_whole(about: Pushed) -> bool:
    return type(about.size) is int and isinstance(about.sha256, str)


def of_file(path: Path) -> Pushed:
    """Size and sha256 of a local file.  Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return Pushed(size, digest.hexdigest())


def of_bytes(data: bytes) -> Pushed:
    """Size and sha256 of bytes."""
    return Pushed(len(data), hashlib.sha256(data).hexdigest())
