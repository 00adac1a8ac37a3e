"""Runs a command and writes how long it took and what it used as JSON: ``timed.py OUT.json COMMAND...``.

The benchmarks wrap their workload in it, so that its wall time and CPU time are taken next to the workload itself,
apart from the tool that watches it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Run the command; exits with its code."""
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[2:])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    Path(sys.argv[1]).write_text(json.dumps({"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}))
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
