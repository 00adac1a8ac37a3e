"""Boots the guest of one run and stands for its workload on the host.

``python3 -m edgeprof.profiler.guest.supervise JOB.json`` is what the host's agent captures: QEMU and its helpers are
its children, so they are in the run's cgroup, and its exit code is the workload's.  What happened stands in
``result.json`` beside the job.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprof.collectors.base import Roots
from edgeprof.collectors.block.capture_places import block_devices, file_extents
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest.attempt import Attempt, Ended, Job, Result, Signals
from edgeprof.profiler.guest.mounts import away

FAILED = 121
"""Exit code when the workload was not run to its end for the guest's sake."""
_ATTEMPTS = 2
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def supervise(job: Job) -> Result:
    """Boot, run, and come back with what happened; nothing is left behind."""
    result = Result()
    deadline = time.monotonic() + job.timeout
    signals = Signals()
    try:
        with ExitStack() as stack:
            if job.mounted:
                stack.enter_context(away(Path(job.mounted)))
            while True:
                result.attempts += 1
                try:
                    Attempt(job, result, signals, deadline).run()
                except Ended as end:
                    result.status, result.reason = end.status, str(end)
                again = result.status == "boot" and result.attempts < _ATTEMPTS and time.monotonic() < deadline
                if not again or signals.count:
                    break
            result.image = _image(job)
    except OSError as error:
        result.status = "disk"
        result.reason = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
    return result


def _image(job: Job) -> dict[str, Any]:
    if not job.disk:
        return {}
    try:
        dev, extents = file_extents(job.disk, block_devices(Roots()))
    except OSError as error:
        return {"path": job.disk, "reason": f"where the image lies on the host is not known: {error.strerror}"}
    return {"path": job.disk, "dev": dev, "extents": [list(extent) for extent in extents]}


def main(path: Path) -> int:
    """Run the job of a file; the exit code for the agent."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody else would end the guest
    if os.getppid() != parent:
        return FAILED
    try:
        result = supervise(Job.read(path))
    except EdgeprofError as error:
        result = Result(reason=str(error))
    path.with_name("result.json").write_text(json.dumps(asdict(result)))
    return FAILED if result.status != "finished" or result.exit_code is None else result.exit_code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
