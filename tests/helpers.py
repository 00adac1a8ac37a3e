"""What tests of real runs share: waiting with a deadline, and edgeprof in a process with places of its own."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from edgeprof.collectors.tracefs.capture import probe
from edgeprof.collectors.tracefs.capture_files import Undo, mount

ROOT = Path(__file__).resolve().parent.parent
QUICK = "procfs,cgroup,self"
"""Collectors that every machine has and that start at once."""

T = TypeVar("T")


def wait_until(answer: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """Ask again and again until the answer is true in Python's sense; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        found = answer()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.005)


def state_of(pid: int) -> str:
    """R, S, T (stopped) and so on, as in proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@dataclass(frozen=True)
class Places:
    """Where one test's edgeprof keeps its runs and its undo journals."""

    base: Path

    @property
    def runs(self) -> Path:
        return self.base / "runs"

    @property
    def state(self) -> Path:
        return self.base / "state"

    def environment(self, **more: str) -> dict[str, str]:
        """The caller's environment with these places."""
        places = {"EDGEPROF_RUNS": str(self.runs), "EDGEPROF_STATE": str(self.state), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **places, **more}

    def command(self, *words: str) -> list[str]:
        """How to call edgeprof."""
        return [sys.executable, "-m", "edgeprof.cli.main", *words]

    def edgeprof(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run edgeprof to its end."""
        settings: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 120, "cwd": self.base, **options}
        settings.setdefault("env", self.environment())
        return subprocess.run(self.command(*words), **settings)

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start edgeprof; the caller waits for it."""
        settings: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "cwd": self.base,
            **options,
        }
        settings.setdefault("env", self.environment())
        return subprocess.Popen(self.command(*words), **settings)

    def run(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """``edgeprof run`` with the quick collectors; ``words`` are further options, ``--`` and the workload."""
        return self.edgeprof("run", "--collect", QUICK, "--no-report", *words, **options)

    def capture(self, *command: str, options: Sequence[str] = (), **settings: Any) -> dict[str, Any]:
        """Capture a command without reading what was captured, and return the manifest."""
        self.run("--no-ingest", *options, "--", *command, **settings)
        return self.manifest()

    def directories(self) -> list[Path]:
        """The capture directories, oldest first."""
        return sorted(self.runs.iterdir()) if self.runs.is_dir() else []

    def only(self) -> Path:
        """The one capture directory."""
        (path,) = self.directories()
        return path

    def manifest(self) -> dict[str, Any]:
        """The manifest of the one capture directory."""
        content: dict[str, Any] = json.loads((self.only() / "manifest.json").read_text())
        return content

    def journals(self) -> list[Path]:
        """The undo journals that are there, and anything else beside them."""
        return sorted(self.state.iterdir()) if self.state.is_dir() else []


def cgroups_left(places: Places) -> list[str]:
    """Cgroups of the runs in ``places`` that are still there, in whatever hierarchy."""
    return [path for name in run_names(places) for path in found_below("/sys/fs/cgroup", f"edgeprof-{name}")]


def tracing_left(edgeprof: int) -> list[str]:
    """Tracing instances that the edgeprof of that process id made."""
    return [path.name for path in (tracing() / "instances").glob(f"edgeprof-{edgeprof}-*")]


@cache
def tracing() -> Path:
    """tracefs, to look at; where it is not mounted, this process mounts it for itself until it ends."""
    found = probe()
    if not found.available or found.details["path"] is not None:
        return Path(found.details.get("path", "/sys/kernel/tracing"))
    undo = Undo(None)
    atexit.register(undo.all)
    return Path(mount("tracefs", undo))


def run_names(places: Places) -> list[str]:
    """The names of all capture directories; their last part is random, so other runs are not mistaken for them."""
    return [path.name for path in places.directories()]


def found_below(folder: str, name: str) -> list[str]:
    """Folders of that name below ``folder``."""
    return [f"{where}/{name}" for where, inside, _ in os.walk(folder) if name in inside]


def children_of(pid: int) -> list[int]:
    """The living children of a process."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    except OSError:
        pass  # it has ended
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return state_of(pid) not in ("Z", "X")
    except OSError:
        return False


def processes_with(word: str) -> list[int]:
    """Living processes that bear ``word`` in their environment, as all descendants of a workload do."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "environ").read_bytes() and alive(int(entry.name)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def end(pids: Sequence[int]) -> None:
    """Kill what a test started and left behind."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def lines_of(path: Path) -> Iterator[str]:
    """Lines written so far; none before the file exists."""
    try:
        yield from path.read_text().splitlines()
    except FileNotFoundError:
        return
