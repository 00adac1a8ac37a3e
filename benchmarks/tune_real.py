"""What `edgeprof tune` brings on a slow disk: completion times of fixed work, default and tuned, in random order.

The disk is a loop device held to what a memory card gives (docs/test-disk.md), the loads are those of loaders:
one page at random out of a mapped file, small files in random order, shards in order.  Each run begins cold, and its
tuner with it: what it takes to find out is part of the time.  A model that always asks for 8 KiB shows the guard rail.

Run as root: ``python benchmarks/tune_real.py [--rounds 5] [--model FILE] [--json FILE]``; about 4 minutes a round.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from common import EDGEPROF, machine, progress, spread, table
from slow_disk import SlowDisk, need_root, slow_disk

from edgeprof.kmodule import build
from edgeprof.kmodule.model import Feature
from edgeprof.kmodule.model_file import Node, tree_file
from edgeprof.kmodule.readahead import FEATURES
from edgeprof.profiler.statistics.groups import compare
from edgeprof.profiler.statistics.scale import back

READ_BYTES, READ_REQUESTS = 45_000_000, 2700
"""A second, of a card: docs/test-disk.md."""
MEMORY = 512 << 20
"""Of the load; its data set is larger."""
DEFAULT_KIB = 128

LOADS = {
    "random rows, mapped": "mmap,size=1500m,row=4k,ops=16000",
    "small files, shuffled": "shuffled,files=10000,size=110k",
    "shards in order": "sequential,size=1200m,shards=4,record=128k",
}
REFERENCES = [(load, kib) for load in LOADS for kib in (8, 1024) if (load, kib) != ("random rows, mapped", 1024)]
"""Settings that nobody changes; but for random rows with much read-ahead, which take six minutes."""


def always(kib: int) -> bytes:
    """A model that gives this advice whatever it sees."""
    return tree_file("constant", [Feature(name) for name in FEATURES], [Node(-1, 0, 0)], np.array([[np.log2(kib)]]))


@contextmanager
def tuner(name: str, model: Path | None, events: list[dict[str, Any]]) -> Iterator[int]:
    """A tuner of a disk from the moment it is ready, its process number; its events are added once it has ended."""
    words = [EDGEPROF, "tune", name, "--json", *(["--model", str(model)] if model else [])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if not any(json.loads(line)["event"] == "begins" for line in process.stdout):
            raise SystemExit("the tuner did not begin; what it said is above")
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=30)
            events.extend(map(json.loads, rest.splitlines()))


def run(disk: SlowDisk, loader: Path, load: str, way: str, models: dict[str, Path | None]) -> dict[str, Any]:
    """One load to its end; seconds, and what the tuner did."""
    disk.forget()
    kib = int(way.split()[0]) if way.endswith("KiB throughout") else DEFAULT_KIB
    disk.read_ahead.write_text(str(kib))
    events: list[dict[str, Any]] = []
    command = disk.command([str(loader), str(disk.folder), LOADS[load]])
    if way in models:
        with tuner(disk.name, models[way], events):
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        if int(disk.read_ahead.read_text()) != kib:
            raise SystemExit("the tuner left a changed read-ahead behind")
    else:
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds = float(json.loads(done.stdout)["seconds"])
    did = [f"{item['event']} {item['to']}" for item in events if item["event"] in ("keeps", "undoes")]
    ended = [item for item in events if item["event"] == "ends"]
    progress(f"{load}, {way}: {seconds:.1f} s {did}")
    return {
        "load": load,
        "way": way,
        "seconds": seconds,
        "did": did,
        "cpu_share": ended[0]["cpu_share"] if ended else None,
    }


def report(rows: list[dict[str, Any]]) -> str:
    """The table: of each load and way, seconds, and how many times faster than by default."""
    lines = []
    for load in LOADS:
        base = [row["seconds"] for row in rows if row["load"] == load and row["way"] == "default"]
        for way in dict.fromkeys(row["way"] for row in rows if row["load"] == load):
            chosen = [row for row in rows if row["load"] == load and row["way"] == way]
            seconds = [row["seconds"] for row in chosen]
            lines.append(
                [load, way, spread(seconds, 1), "1" if way == "default" else faster(base, seconds), told(chosen)]
            )
    return table(["load", "read-ahead", "seconds", "times as fast as by default", "the tuner kept, undid"], lines)


def faster(base: list[float], other: list[float]) -> str:
    """Ratio of geometric means with its 95 % interval (Welch); the median's ratio where there is one run only."""
    found = compare(other, base, "s")
    effect = found.effect
    if effect.low is None or effect.high is None:
        return f"{back(effect.value, found.scale):.2f}"
    low, high = back(effect.low, found.scale), back(effect.high, found.scale)
    return f"{back(effect.value, found.scale):.2f} ({low:.2f} to {high:.2f})"


def told(rows: list[dict[str, Any]]) -> str:
    """What the tuner did, and in how many of the runs."""
    counts: dict[str, int] = {}
    for row in rows:
        for did in row["did"]:
            counts[did] = counts.get(did, 0) + 1
    return ", ".join(f"{did} KiB ({count})" for did, count in counts.items()) or "-"


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where the disk's image lies")
    parser.add_argument("--model", type=Path, help="of the tuner  [default: its rule]")
    parser.add_argument("--json", type=Path, help="write each run there")
    options = parser.parse_args()
    need_root()
    loader = build.program(build.SOURCES / "loader" / "loader.c")
    order = random.Random(1)
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        slow_disk(Path(folder), 6 << 30, READ_BYTES, READ_REQUESTS, MEMORY) as disk,
    ):
        harmful = Path(folder) / "harmful.kml"
        harmful.write_bytes(always(8))
        models = {"tuned": options.model, "tuned by a model that always asks for 8 KiB": harmful}
        for load in LOADS.values():
            subprocess.run([str(loader), "--prepare", str(disk.folder), load], check=True, capture_output=True)
        for number in range(options.rounds):
            plan = [(load, way) for load in LOADS for way in ("default", "tuned")]
            plan.append(("shards in order", "tuned by a model that always asks for 8 KiB"))
            if number == 0:  # the settings that there are to find: one run each tells enough
                plan += [(load, f"{kib} KiB throughout") for load, kib in REFERENCES]
            order.shuffle(plan)
            for load, way in plan:
                rows.append(run(disk, loader, load, way, models))
                if options.json:
                    options.json.write_text(json.dumps(rows, indent=1))
    shares = [row["cpu_share"] for row in rows if row["cpu_share"] is not None]
    print(f"{machine()}.\n\n{report(rows)}\n\nThe tuner took {max(shares):.2%} of one core at most.")


if __name__ == "__main__":
    main()
