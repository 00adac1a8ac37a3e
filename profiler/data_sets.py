"""Data sets for a run: made by a process of its own, so that edgeprof itself stays small, and copied."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.workloads.data.spec import DataSpec


def made(spec: DataSpec, folder: Path, say: Callable[[str], None]) -> Path:
    """Make a data set in ``folder`` unless it is there; returns its path.  Raises EdgeprofError."""
    command = [sys.executable, "-m", "edgeprof.workloads.data", json.dumps(asdict(spec)), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    last = ""
    try:
        for line in process.stderr:
            if last:
                say(last)
            last = line.strip()
        output = process.stdout.read()
    finally:
        process.stdout.close()
        process.stderr.close()
        code = process.wait()
    if code == 0:
        if last:
            say(last)
        return Path(output.rstrip("\n"))
    if code == 130:
        raise KeyboardInterrupt
    if code == 2 and last:
        raise EdgeprofError(last)
    raise EdgeprofError(
        f"the data set could not be made: its maker ended with code {code} ({last or 'without a word'})"
    )


def copied(source: Path, folder: Path, say: Callable[[str], None]) -> Path:
    """Copy a data set into ``folder`` and return the copy.  Raises EdgeprofError: no room, or not readable."""
    say(f"copying {source.name} to the new file system")
    target = folder / source.name
    try:
        shutil.copytree(source, target, symlinks=True)
    except (OSError, shutil.Error) as error:
        raise EdgeprofError(
            f"{source} could not be copied to the new file system ({error}); --fs-size makes it larger"
        ) from None
    return target
