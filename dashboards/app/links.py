"""Keeps the application inside the folder that it serves: tells links that lead out of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError

_PARTS = frozenset(("manifest.json", "manifest.partial.json", "metrics.parquet", "tables", "state.jsonl", "runs"))
"""What is read of a run's or a matrix's folder; what else lies there may be a link to anywhere."""


class LeadsOut(EdgeprofError):
    """A run, or a part of it, that lies outside the folder served."""

    def __init__(self, part: str = "") -> None:
        which = f"its {part} is" if part else "it is"
        super().__init__(f"{which} a link that leads out of the folder, and so is not read")


def inside(path: Path, root: Path) -> bool:
    """Whether a path is below ``root`` (which is resolved) when its links are followed."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # a loop of links
        return False


def check_parts(folder: Path, root: Path) -> None:
    """Check that a run's folder, or a matrix's, and all that is read of it lie inside ``root``.

    Raises:
        LeadsOut: the folder or a part of it is a link to elsewhere.
        OSError: the folder cannot be listed.
    """
    if not inside(folder, root):
        raise LeadsOut
    for link in [*_links(folder, _PARTS), *_links(folder / "tables")]:
        if not inside(link, root):
            raise LeadsOut(link.name)


def _links(folder: Path, names: frozenset[str] = frozenset()) -> Iterator[Path]:
    try:
        with os.scandir(folder) as items:
            for item in items:
                if item.is_symlink() and (not names or item.name in names):
                    yield Path(item.path)
    except (FileNotFoundError, NotADirectoryError):
        return
