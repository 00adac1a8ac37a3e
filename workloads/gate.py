"""Lets workloads that run side by side begin to be measured at the same moment.

A scenario names a folder in ``EDGEPROF_GATE``; a workload that is ready puts a file there, and waits for ``go``.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

VARIABLE = "EDGEPROF_GATE"
_POLL = 0.005
_GO = "go"


def ready_and_wait() -> None:
    """Say that this process is ready, and return when the others are; at once outside a scenario."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        return
    Path(folder, f"ready-{os.getpid()}").touch()
    go = Path(folder, _GO)
    while not go.exists():
        if not Path(folder).is_dir():  # the scenario is gone
            raise SystemExit(1)
        time.sleep(_POLL)


def open_gate(folder: Path) -> None:
    """Let all begin."""
    (folder / _GO).touch()


def is_ready(folder: Path, pid: int) -> bool:
    """Whether a process waits at the gate."""
    return (folder / f"ready-{pid}").exists()
