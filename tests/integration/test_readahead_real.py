"""Read-ahead on the running kernel: runs at two sizes become a training set whose features show how files were read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from edgeprof.cli import main as cli
from edgeprof.collectors.tracefs import capture as tracefs
from edgeprof.profiler.guest import architecture
from edgeprof.profiler.storage.file_system import kernel_has
from edgeprof.profiler.storage.tools import find_tool
from tests.kml_objects import skip_without_tools
from tests.source_tree import ROOT

FOUND = tracefs.probe()
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not FOUND.available, reason=f"no tracefs: {FOUND.reason}; {FOUND.remedy}"),
    pytest.mark.skipif(
        not kernel_has("ext4") or find_tool("mkfs.ext4") is None,
        reason="no ext4 here: run the tests on a kernel that has it, with e2fsprogs installed",
    ),
]
SIZES = (32, 256)
PATTERNS = ("random-mmap-4k", "sequential-read-64k")
COLLECT = "deep,-block,-perf_stat,-gpu,-power,-thermal,-clocks"


def captured(folder: Path, pattern: str, kib: int) -> None:
    """One run of `benchmarks/read_patterns.py`."""
    words = [sys.executable, "-m", "edgeprof.cli.main", "run", "--quiet", "--no-report", "-o", folder / "runs"]
    words += ["--collect", COLLECT, "--budget", "50%,200MB/s", "--file-system", "ext4", "--fs-size", "100M"]
    words += ["--read-ahead", f"{kib}K", "--", sys.executable, ROOT / "benchmarks" / "read_patterns.py"]
    words += [pattern, "--seconds", "0.7", "--total", "64"]
    places = {"EDGEPROF_STATE": str(folder / "state"), "EDGEPROF_DATA_CACHE": str(folder / "cache")}
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **places}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(300)
def test_captured_runs_show_how_they_read(tmp_path: Path) -> None:
    skip_without_tools(architecture.here())
    for pattern in PATTERNS:
        for kib in SIZES:
            captured(tmp_path, pattern, kib)
    target = tmp_path / "set.parquet"
    assert cli.main(["dataset", "build", "readahead", str(tmp_path / "runs"), "-o", str(target)]) == 0
    rows = pq.read_table(target).to_pylist()
    for pattern in PATTERNS:
        for kib in SIZES:
            own = [row for row in rows if row["workload"].split()[2] == pattern and row["current_kib"] == kib]
            assert own, (pattern, kib)
            run, short = (float(np.median([row[name] for row in own])) for name in ("run", "short"))
            assert {row["current"] for row in own} == {np.log2(kib / 4)}
            if pattern.startswith("random"):  # each miss adds what is read ahead, and nobody goes on
                # A run ends sooner where the page behind it is there already: the more so, the longer it went on.
                assert np.log2(kib / 4) - 1.2 < run < np.log2(kib / 4) + 0.7
                assert short > 0.8
            else:
                assert run > np.log2(kib / 4) + 2
