"""Gives a fetched capture its place among the desk's runs, with what the desk knows of it in its manifest."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent import manifest
from edgeprof.profiler.agent.remote_files import CAPTURE, STREAMS
from edgeprof.profiler.board.errors import BoardError
from edgeprof.profiler.board.fetch import DESK_FILE
from edgeprof.profiler.board.fields import RUN
from edgeprof.profiler.files import CannotWrite, write_text

_LONGEST = 64 << 20
KEPT_STREAMS = {name: f"workload.{name}" for name in STREAMS}
"""What the workload printed, and its name in the capture directory."""


@dataclass(frozen=True)
class Arrived:
    """The capture directory at the desk, and its manifest; empty where that cannot be read."""

    path: Path
    manifest: dict[str, Any]


def remember(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what the desk knows as a run begins, in the folder where its files will arrive.  Raises CannotWrite."""
    write_text(folder / DESK_FILE, json.dumps(facts))


def remembered(folder: Path) -> dict[str, Any]:
    """What `remember` kept; nothing where it cannot be read."""
    found = _read(folder / DESK_FILE)
    return found if found is not None else {}


def arrived(output: Path, capture: str, job: str) -> Arrived | None:
    """A job's capture that has its place in ``output`` already: an earlier command could not finish behind it."""
    found = _manifest(output / capture)
    if found is None:
        return None
    remote = found[1].get("remote")
    same = isinstance(remote, dict) and remote.get("job") == job
    return Arrived(output / capture, found[1]) if same else None


def settle(board: str, folder: Path, output: Path, remote: Mapping[str, Any]) -> Arrived:
    """Move the capture out of ``folder`` into ``output``, its manifest completed by ``remote``; it is durable then.

    Raises:
        BoardError: there is no capture among what was fetched.
        CannotWrite: its name is taken, or the disk is full; everything stays in ``folder``.
    """
    captures = folder / CAPTURE
    names = [item.name for item in captures.iterdir()] if captures.is_dir() else []
    if len(names) != 1 or not RUN.fullmatch(names[0]):
        raise BoardError(board, "the run left no capture there; nothing was kept")
    here, place = captures / names[0], output / names[0]
    if place.exists():
        raise CannotWrite(place, FileExistsError(17, f"it is there already, and what was fetched is in {folder}"))
    try:
        for name, kept in KEPT_STREAMS.items():
            if (folder / name).is_file() and (folder / name).stat().st_size:
                (folder / name).replace(here / kept)
        content = _complete(here, remote)
        _make_durable(here)
        here.rename(place)
        _sync(output)
    except OSError as error:
        raise CannotWrite(place, error) from None
    shutil.rmtree(folder, ignore_errors=True)
    return Arrived(place, content)


def _complete(capture: Path, remote: Mapping[str, Any]) -> dict[str, Any]:
    """Add the facts to the manifest, the partial one of an interrupted run too; one that is damaged stays as it is."""
    found = _manifest(capture)
    if found is None:
        return {}
    name, content = found
    content["remote"] = dict(remote)
    manifest.write_json(str(capture), name, content)
    return content


def _manifest(capture: Path) -> tuple[str, dict[str, Any]] | None:
    """Name and content of the manifest that counts; None: there is none that can be read."""
    for name in (manifest.FINAL, manifest.PARTIAL):
        content = _read(capture / name)
        if content is not None:
            return name, content
    return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_LONGEST))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _make_durable(folder: Path) -> None:
    """All of a folder is on the disk, whoever wrote it there.  Raises OSError."""
    for where, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(where, name))
        _sync(Path(where))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
