"""Has the files of models made before the run, by a process of its own: a guest or container could not keep them."""

from __future__ import annotations

import subprocess
import sys

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.workloads.spec import WorkloadSpec

LOADED = ("onnxruntime", "litert")
"""Frameworks that load a model's file; the others build the model themselves."""


def made(workload: WorkloadSpec) -> None:
    """Make the file that a workload loads, unless it is there.  Raises EdgeprofError."""
    if workload.framework not in LOADED:
        return
    command = [sys.executable, "-m", "edgeprof.workloads.models.export", workload.to_json()]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise EdgeprofError(lines[-1] if lines else f"the model could not be made: code {done.returncode}")
