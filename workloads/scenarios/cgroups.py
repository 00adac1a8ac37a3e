"""A cgroup for each role, inside the run's own; without one (no rights, no run) roles run as they are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

PREFIX = "role-"
LAUNCHER = "scenario"
"""The role of the process that starts the others."""
_LEFT_OUT = {"cpu", "cpuset"}
"""Controllers in which roles stay together: the scheduler would share processors between groups, not programs."""
_HANDED_ON = ("memory", "io")


class RoleCgroups:
    """Makes ``role-NAME`` in every hierarchy in which this process is in the cgroup of a run (``edgeprof-*``).

    In version 2 a cgroup that hands its controllers on may have no processes of its own (cgroup-v2.rst), so this
    process goes into a role's cgroup, too: ``role-scenario``.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self.folders = run_folders(proc)
        self.reason = "" if self.folders else "this process is not in the cgroup of a run"
        try:
            self._enter(self.make(LAUNCHER), os.getpid())
        except OSError as error:  # what the kernel refuses on writing names no file
            self.reason = f"{error.filename or self.folders[0]}: {error.strerror}"
            self.folders = []
        for folder in self.folders:
            self._hand_on(folder)

    def make(self, name: str) -> list[Path]:
        """The role's folders, one in each hierarchy.  Raises OSError."""
        made = []
        for folder in self.folders:
            path = folder / f"{PREFIX}{name}"
            path.mkdir(exist_ok=True)
            made.append(path)
        return made

    def enter(self, name: str, pid: int) -> None:
        """Move a process into a role.  Raises OSError."""
        self._enter([folder / f"{PREFIX}{name}" for folder in self.folders], pid)

    @staticmethod
    def _enter(folders: list[Path], pid: int) -> None:
        for folder in folders:
            (folder / "cgroup.procs").write_text(str(pid))

    @staticmethod
    def _hand_on(folder: Path) -> None:
        """Switch accounting on for the roles; only version 2 knows this."""
        control = folder / "cgroup.subtree_control"
        if control.exists():
            for name in _HANDED_ON:
                with suppress(OSError):  # one that cannot be handed on must not keep the others back
                    control.write_text(f"+{name}")

    def members(self, name: str) -> list[int]:
        """Processes that are in a role now."""
        for folder in self.folders:
            with suppress(OSError, ValueError):
                return [int(line) for line in (folder / f"{PREFIX}{name}" / "cgroup.procs").read_text().split()]
        return []


def run_folders(proc: Path = Path("/proc")) -> list[Path]:
    """Folders of this process's cgroups that belong to a run, by proc_pid_cgroup(5) and proc_pid_mountinfo(5)."""
    try:
        lines = (proc / "self/cgroup").read_text().splitlines()
        mounts = [line.split() for line in (proc / "self/mountinfo").read_text().splitlines()]
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not Path(path).name.startswith("edgeprof-") or _LEFT_OUT & set(controllers.split(",")):
            continue
        for fields in mounts:
            kind, _, options = fields[fields.index("-") + 1 :][:3]
            if kind == "cgroup2" and not controllers:
                pass
            elif not (kind == "cgroup" and controllers and set(controllers.split(",")) <= set(options.split(","))):
                continue
            with suppress(ValueError):  # mounted from elsewhere in the hierarchy
                folder = Path(fields[4]) / Path(path).relative_to(fields[3])
                if folder.is_dir():
                    found.append(folder)
                    break
    return found
