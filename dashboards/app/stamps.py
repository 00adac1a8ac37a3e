"""Tells a folder of runs or a matrix from itself as it was before: by the times and sizes of its runs' files."""

from __future__ import annotations

import os
from pathlib import Path

from edgeprof.dashboards.app.rows import stamp
from edgeprof.profiler.matrix.folder import MatrixFolder

Stamps = tuple[tuple[str, str], ...]


def stamps(path: Path) -> Stamps:
    """Changes when a run of a folder or a matrix comes, goes or is ingested again, or when the matrix goes on.

    Returns:
        Name and stamp of all that a page on the folder is made from; of a run's own folder, its stamp.
    """
    place = MatrixFolder(path)
    found = [("", stamp(path)), *_of_state(place.state)]
    for folder in (path, place.runs):
        found += _of_runs(folder)
    return tuple(sorted(found))


def _of_state(state: Path) -> list[tuple[str, str]]:
    try:
        about = state.stat()
    except OSError:
        return []
    return [(state.name, f"{about.st_mtime_ns}.{about.st_size}")]


def _of_runs(folder: Path) -> list[tuple[str, str]]:
    """By entries rather than paths, since a page asks for thousands of runs, once for each of its figures."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.path, stamp(entry.path)) for entry in entries if entry.is_dir()]
    except OSError:
        return []
