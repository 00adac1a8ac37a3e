"""What a finished run keeps on disk: all, tables and metrics, or metrics alone."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from edgeprof.profiler.agent import manifest
from edgeprof.profiler.run import load_manifest

KEEPS = ("raw", "tables", "metrics")
_DROPPED = {"raw": (), "tables": ("raw",), "metrics": ("raw", "tables")}


def keep(path: Path, what: str) -> None:
    """Drop what is not kept; the manifest says so, before it is gone.

    Raises:
        OSError, EdgeprofError: it could not be dropped; the run is whole, or says what it lacks.
    """
    if (path / "guest" / manifest.FINAL).is_file():  # what was captured inside a virtual machine
        keep(path / "guest", what)
    dropped = [name for name in _DROPPED[what] if (path / name).is_dir()]
    if not dropped:
        return
    content = load_manifest(path)
    sentence = f"the matrix kept {what} only: {' and '.join(dropped)} were removed once the metrics were made"
    content["notes"] = [*(content.get("notes") or []), sentence]
    manifest.write_json(os.fspath(path), manifest.FINAL, content)
    for name in dropped:
        shutil.rmtree(path / name)
