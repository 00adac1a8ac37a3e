"""Runs in a guest: captures a command with back ends of the block collector, all at the same time.

    python3 capture_in_guest.py FOLDER DEVICE BACKEND,BACKEND COMMAND...

writes FOLDER/BACKEND/raw and FOLDER/facts.json.  Standard library and the capture set only.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from edgeprof.collectors.base import Context
from edgeprof.collectors.block.capture import Block


def main(folder: str, device: str, backends: list[str], command: list[str]) -> None:
    """Capture ``command``; an error of a collector ends the guest's script."""
    collectors = []
    for backend in backends:
        raw = Path(folder, backend, "raw", "block")
        raw.mkdir(parents=True)
        options = {"backend": backend, "devices": [device]}
        collectors.append(Block(Context(str(raw), budget_bytes=1e8, options=options)))
    for collector in collectors:
        found = collector.probe()
        if not found.available:
            raise SystemExit(found.reason)
        collector.start()
    start_ns = time.monotonic_ns()
    process = subprocess.Popen(command)
    while process.poll() is None:
        for collector in collectors:
            collector.sample(time.monotonic_ns())
        time.sleep(0.2)
    end_ns = time.monotonic_ns()
    statuses = {backend: collector.stop()._asdict() for backend, collector in zip(backends, collectors, strict=True)}
    facts = {
        "start_ns": start_ns,
        "end_ns": end_ns,
        "pid": process.pid,
        "profiler": os.getpid(),
        "exit_code": process.returncode,
        "statuses": statuses,
    }
    Path(folder, "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3].split(","), sys.argv[4:])
