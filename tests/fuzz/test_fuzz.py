"""No bytes make a parser crash, hang or fill memory: coverage-guided fuzzing from real captures, a few seconds each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import DATA, TARGETS, Arena

SECONDS = os.environ.get("EDGEPROF_FUZZ_SECONDS", "4")
"""Per target; `make fuzz` gives each a minute."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_capture_that_fuzzing_starts_from_has_rows(name: str) -> None:
    target = TARGETS[name]
    assert Arena(target).run((DATA / target.capture / target.file).read_bytes()) > 0


@pytest.mark.timeout(0)  # libFuzzer has its own
@pytest.mark.parametrize("name", TARGETS)
def test_hostile_bytes_do_no_harm(name: str, tmp_path: Path) -> None:
    pytest.importorskip(
        "atheris", reason="the fuzzer atheris is not installed: pip install atheris (no wheel for every Python)"
    )
    limits = [
        f"-max_total_time={SECONDS}",
        "-timeout=10",
        "-rss_limit_mb=1500",
        "-max_len=100000",
        f"-artifact_prefix={tmp_path}/",
    ]
    command = [sys.executable, str(Path(__file__).with_name("targets.py")), name, *limits]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", cwd=tmp_path)
    crashes = [path.read_bytes()[:400] for path in tmp_path.iterdir() if path.is_file()]
    assert done.returncode == 0, f"{done.stderr[-4000:]}\n{crashes}"
