"""A container's cgroup and the run's: whether one lies in the other, moving processes, and limits as the kernel says.

Formats: proc_pid_cgroup(5); Documentation/admin-guide/cgroup-v2.rst (io.max);
Documentation/admin-guide/cgroup-v1/blkio-controller.rst (throttle files).
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from edgeprof.profiler.agent.cgroups import hierarchies
from edgeprof.profiler.agent.undo import descendants

_SECONDS_TO_MOVE = 2.0


def parent(folders: dict[str, str]) -> str | None:
    """The path that the run's cgroup has in every hierarchy, as an engine wants it; None: they differ."""
    mounts = {controller: item.mount for item in hierarchies() for controller in item.controllers or ("unified",)}
    found = {
        "/" + os.path.relpath(folder, mounts[controller])
        for controller, folder in folders.items()
        if controller in mounts
    }
    return found.pop() if len(found) == 1 else None


def paths_of(pid: int, folders: dict[str, str]) -> dict[str, str]:
    """Controller -> the folder of the process's cgroup, where that lies below the run's; an ended process has none."""
    found = {}
    for controller, path in _own(pid).items():
        folder = folders.get(controller or "unified")
        if folder is None:
            continue
        _, name, after = path.partition("/" + Path(folder).name)
        if name and after.startswith("/"):
            found[controller or "unified"] = folder + after
    return found


def _own(pid: int) -> dict[str, str]:
    """Controller (empty: v2) -> path of the process's cgroup."""
    found = {}
    try:
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            found.update(dict.fromkeys(controllers.split(","), path))
    except (OSError, ValueError):
        return {}
    return found


def move(pid: int, folders: dict[str, str]) -> None:
    """Move a process and all its descendants into the run's cgroup, until none is left outside.

    Raises:
        OSError: they cannot be moved, or multiply faster than they can be.
    """
    deadline = time.monotonic() + _SECONDS_TO_MOVE
    moved: set[int] = set()
    while True:
        left = [item for item in descendants(pid) if item not in moved]
        if not left:
            return
        if time.monotonic() > deadline:
            raise OSError(0, "the container's processes could not be moved to the run's cgroup in time")
        for item in left:
            for folder in folders.values():
                try:
                    Path(folder, "cgroup.procs").write_text(str(item))
                except ProcessLookupError:
                    pass  # it has ended
            moved.add(item)


def device_limits(paths: dict[str, str], device: str) -> dict[str, int]:
    """``read`` and ``write``, bytes a second, as the kernel gives them back for a device (``major:minor``)."""
    found = {}
    for way in ("read", "write"):
        for name, number in _lines(paths.get("blkio"), f"blkio.throttle.{way}_bps_device"):
            if name == device and number.isdecimal():
                found[way] = int(number)
    for name, text in _lines(paths.get("unified"), "io.max"):
        values = dict(pair.split("=", 1) for pair in text.split() if "=" in pair)
        for way in ("read", "write"):
            number = values.get(f"{way[0]}bps", "")
            if name == device and number.isdecimal():
                found[way] = int(number)
    return found


def _lines(folder: str | None, file: str) -> list[tuple[str, str]]:
    """(device, rest) of each line of a cgroup's file; none where there is no such file."""
    if folder is None:
        return []
    try:
        lines = Path(folder, file).read_text().splitlines()
    except OSError:
        return []
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]
