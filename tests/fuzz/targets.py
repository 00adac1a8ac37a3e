"""What is fuzzed: every parser, through its entry point, with one of its raw files replaced by hostile bytes.

Run one by hand with ``python tests/fuzz/targets.py TARGET [libFuzzer options]``; ``make fuzz`` runs them all.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from edgeprof.collectors.parsing import RunFacts

DATA = Path(__file__).resolve().parent.parent / "data"
FACTS = RunFacts(
    start_ns=1_000_000_000,
    end_ns=9_000_000_000_000,
    main_pid=100,
    clocks=({"at": "start", "monotonic_ns": 1_000, "boottime_ns": 1_000, "realtime_ns": 10**18, "error_ns": 50},),
    host={"page_bytes": 4096, "devices": {"7:0": {"name": "loop0"}}},
    run_pids=frozenset({100}),
)


class Target(NamedTuple):
    """A collector, the raw file of it that is fuzzed, and the real capture that gives the rest and the corpus."""

    collector: str
    file: str
    capture: str


TRACE = "tracefs/x86_64-6.18"
TARGETS = {
    "procfs": Target("procfs", "procfs/samples.frames", "capture/run"),
    "cgroup": Target("cgroup", "cgroup/samples.frames", "capture/run"),
    "self": Target("self", "self/samples.frames", "capture/run"),
    "phases": Target("phases", "phases/1-1.bin", "capture/run"),
    "perf_stat": Target("perf_stat", "perf_stat/stat.json", "capture/run"),
    "block": Target("block", "tracefs/cpu1.raw", TRACE),
    "page_cache": Target("page_cache", "tracefs/cpu0.raw", TRACE),
    "paths": Target("page_cache", "page_cache/paths.bin", TRACE),
    "header_page": Target("block", "tracefs/header_page", TRACE),
    "format": Target("block", "tracefs/formats/block.block_rq_issue", TRACE),
    "saved_cmdlines": Target("block", "tracefs/saved_cmdlines", TRACE),
    "blktrace": Target("block", "block/vdb.blktrace.0", "capture/blktrace"),
    "power": Target("power", "power/power.frames", "capture/board"),
    "rails": Target("power", "power/rails.json", "capture/board"),
    "thermal": Target("thermal", "thermal/thermal.frames", "capture/board"),
    "clocks": Target("clocks", "clocks/clocks.frames", "capture/board"),
    "tegrastats": Target("power", "power/power.frames", "capture/tegrastats"),
}


class Arena:
    """A raw folder in memory whose one file is replaced for each input."""

    def __init__(self, target: Target) -> None:
        base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.raw = Path(tempfile.mkdtemp(prefix="edgeprof-fuzz-", dir=base)) / "raw"
        atexit.register(shutil.rmtree, self.raw.parent, ignore_errors=True)
        shutil.copytree(DATA / target.capture, self.raw)
        self._file = self.raw / target.file
        self._parse = import_module(f"edgeprof.collectors.{target.collector}.parse").parse

    def run(self, data: bytes) -> int:
        """Parse the capture with ``data`` as the fuzzed file; returns the rows of all tables.

        Raises whatever the parser raises: it should raise nothing.
        """
        self._file.write_bytes(data)
        parsed = self._parse(self.raw, FACTS)
        rows = 0
        for table in parsed.tables.values():
            table.validate()
            rows += table.num_rows
        return rows


def main(arguments: list[str]) -> None:
    """Fuzz one target with atheris until its options say stop."""
    import atheris

    target = TARGETS[arguments[1]]
    with atheris.instrument_imports(include=["edgeprof.collectors"]):
        arena = Arena(target)
    seeds = arena.raw.parent / "corpus"
    seeds.mkdir()
    captured = (DATA / target.capture / target.file).read_bytes()
    for size in (len(captured), 4096, 512):  # short seeds mutate to something new sooner
        (seeds / str(size)).write_bytes(captured[:size])
    atheris.Setup([arguments[0], *arguments[2:], str(seeds)], lambda data: arena.run(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
