"""Which runs of a folder are being captured now."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from edgeprof.profiler.agent import journal
from edgeprof.profiler.agent.manifest import FINAL, PARTIAL
from edgeprof.profiler.agent.undo import same_process
from edgeprof.profiler.live.tails import Tail

QUIET = 15.0
"""Seconds without a write after which a run on another machine is taken for interrupted: its agent writes each one."""


def in_progress(path: Path) -> bool:
    """Whether a run is being captured now, by this machine or (its files grow) by another one."""
    if (path / FINAL).exists():
        return False
    agent = _agent(path)
    pid, started = agent.get("agent"), agent.get("agent_start")
    if agent.get("boot_id") == journal.boot_id() and isinstance(pid, int) and isinstance(started, int):
        return same_process(pid, started)
    return bool(agent) and _grows(path / "raw")


def _agent(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(Tail(path / PARTIAL).more())
    except (ValueError, RecursionError):
        return {}
    found = content.get("processes") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


def _grows(raw: Path) -> bool:
    newest = 0.0
    for name in ("cgroup/samples.frames", "procfs/samples.frames"):
        try:
            newest = max(newest, (raw / name).lstat().st_mtime)
        except OSError:
            continue
    return time.time() - newest < QUIET


class Watch:
    """The runs of a folder that are in progress; cheap to ask each second, however many have ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._over: set[str] = set()
        self._names: list[str] = []
        self._changed: int | None = None

    def runs(self) -> list[Path]:
        """Their capture directories, newest first.  A folder that cannot be read has none."""
        try:
            changed = self._folder.stat().st_mtime_ns
            if changed != self._changed:  # a run has come or gone
                with os.scandir(self._folder) as entries:
                    self._names = [item.name for item in entries if item.is_dir(follow_symlinks=False)]
                self._changed = changed
        except OSError:
            return []
        found = []
        for name in self._names:
            if name in self._over:
                continue
            path = self._folder / name
            if (path / FINAL).exists():
                self._over.add(name)
            elif in_progress(path):
                found.append(path)
        return sorted(found, reverse=True)
