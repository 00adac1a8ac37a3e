"""Makes the captures that fuzzing starts from anew, below tests/data/capture: ``python -m tests.fuzz.record_corpus``.

Run it as root on Linux with cgroups and perf, from the repository's root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from edgeprof.collectors.base import Context, FrameWriter
from tests.board_trees import BOARDS, plant

OUT = Path(__file__).resolve().parent.parent / "data" / "capture"
PROGRAM = """
import subprocess, sys, time, edgeprof
with edgeprof.phase("startup"):
    data = bytes(1 << 20)
for step in range(6):
    with edgeprof.phase("load"):
        open(sys.argv[1], "wb").write(data)
        subprocess.run(["true"])
    with edgeprof.phase("forward"):
        time.sleep(0.1)
    edgeprof.step(samples=8)
edgeprof.mark("loss", 0.5)
"""


def record_run() -> None:
    """A real run of a small program: procfs, cgroup, perf_stat, phases, self."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROGRAM, folder + "/scratch"]
        collect = "procfs,cgroup,perf_stat,phases,self"
        edgeprof = str(Path(sys.executable).parent / "edgeprof")
        arguments = ["run", "-q", "--no-ingest", "--rate", "5", "-o", folder, "--collect", collect, "--"]
        subprocess.run([edgeprof, *arguments, *command], check=True)
        raw = next(Path(folder).glob("*/raw"))
        shutil.copytree(raw, OUT / "run")
    records = next((OUT / "run" / "phases").glob("*.bin"))
    records.rename(records.with_name("1-1.bin"))


def record_board() -> None:
    """Power, thermal and clocks of the tree of a board, sampled three times."""
    with tempfile.TemporaryDirectory() as folder:
        roots = plant("orin-nx-jetpack5", Path(folder))
        for name in ("power", "thermal", "clocks"):
            raw = OUT / "board" / name
            raw.mkdir(parents=True)
            collector = import_module(f"edgeprof.collectors.{name}.capture").COLLECTOR(Context(str(raw), roots))
            if not collector.probe().available:
                raise SystemExit(f"{name}: {collector.probe().reason}")
            collector.start()
            for second in range(1, 4):
                collector.sample(second * 1_000_000_000)
            collector.stop()


def record_tegrastats() -> None:
    """All known lines of tegrastats as the power collector keeps them."""
    raw = OUT / "tegrastats" / "power"
    raw.mkdir(parents=True)
    writer = FrameWriter(str(raw / "power.frames"))
    source = writer.source("tegrastats")
    lines = (BOARDS.parent / "tegrastats.txt").read_bytes().splitlines(keepends=True)
    for second, line in enumerate(line for line in lines if not line.startswith(b"#")):
        writer.frame(second * 1_000_000_000, source, line)
    writer.close()


def record_blktrace() -> None:
    """The trace of the real blktrace tool, laid out as the block collector keeps it."""
    raw = OUT / "blktrace" / "block"
    raw.mkdir(parents=True)
    shutil.copy(BOARDS.parent / "block" / "blktrace-6.1" / "vdb.blktrace.0", raw)
    (raw / "about.json").write_text('{"backend": "blktrace", "devices": {}}')


if __name__ == "__main__":
    os.umask(0o022)
    shutil.rmtree(OUT, ignore_errors=True)
    for record in (record_run, record_board, record_tegrastats, record_blktrace):
        record()
