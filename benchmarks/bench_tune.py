"""What `edgeprof tune` costs: its CPU share and memory, idle and beside readers, and what being looked at costs these.

A reader touches pages of a mapped file at a set rate; with a read-ahead of 128 KiB each adds 32 pages to the page
cache, one event each, which is as many as there can be.  The model agrees with what is set, or never does: then the
tuner tries its changes as often as it ever does.  Without a rate the reader goes as fast as it can, and its speed
beside the tuner is compared with its speed alone, in turns.

Run as root on an otherwise idle machine: ``python benchmarks/bench_tune.py [--seconds 30]``.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import machine, progress, spread, table
from slow_disk import need_root, slow_disk
from tune_real import always, tuner

READ_AHEAD_PAGES = 32
RATES = (0, 1000, 20000, 50000)
"""Pages added a second."""
UNLIMITED = 1 << 40


def read(path: str, rate: float, seconds: float) -> None:
    """The reader: prints pages that it touched a second, and the CPU seconds that each took."""
    file = os.open(path, os.O_RDONLY)
    data = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    pages, chosen = len(data) // mmap.PAGESIZE, random.Random(0)
    began, cpu, touched = time.monotonic(), time.process_time(), 0
    while (now := time.monotonic() - began) < seconds:
        if touched % 512 == 0:
            data.madvise(mmap.MADV_DONTNEED)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        if rate and touched > now * rate:
            time.sleep(0.002)
            continue
        data[chosen.randrange(pages) * mmap.PAGESIZE]
        touched += 1
    print(json.dumps({"rate": touched / seconds, "cpu": (time.process_time() - cpu) / max(touched, 1)}))


def reader(path: Path, rate: float, seconds: float) -> dict[str, float]:
    """The reader in a process of its own."""
    words = [sys.executable, __file__, "--read", str(path), str(rate), str(seconds)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


@contextmanager
def measured_tuner(name: str, model: Path) -> Iterator[dict[str, Any]]:
    """A tuner; what is yielded gets its last words, and its largest memory in bytes."""
    figures: dict[str, Any] = {}
    events: list[dict[str, Any]] = []
    with tuner(name, model, events) as process:
        yield figures
        status = Path(f"/proc/{process}/status").read_text()
        figures["memory"] = int(status.partition("VmHWM:")[2].split()[0]) << 10
    figures.update(events[-1], trials=sum(item["event"] == "tries" for item in events))


def beside_readers(name: str, path: Path, models: dict[str, Path], seconds: float) -> str:
    """CPU of the tuner by rate and model; a Markdown table."""
    rows = []
    for rate in RATES:
        for advice, model in models.items():
            with measured_tuner(name, model) as figures:
                did = reader(path, rate / READ_AHEAD_PAGES, seconds) if rate else time.sleep(seconds)
            progress(f"{rate} pages/s, {advice}: {figures['cpu_share']:.3%} of one core")
            rows.append(
                [
                    f"{did['rate'] * READ_AHEAD_PAGES:,.0f}" if did else "0",
                    advice,
                    f"{figures['cpu_share']:.2%}",
                    f"{figures['looked_seconds'] / figures['seconds']:.0%}",
                    str(figures["trials"]),
                    f"{figures['memory'] / 2**20:.0f} MiB",
                ]
            )
    return table(["pages added a second", "the model", "CPU, of one core", "time looked at", "trials", "memory"], rows)


def what_readers_lose(name: str, path: Path, model: Path, seconds: float, rounds: int) -> str:
    """Speed of a reader that goes as fast as it can, with a tuner that changes nothing over without one."""
    ratios, costs = [], []
    for _ in range(rounds):
        alone = reader(path, 0, seconds)
        with tuner(name, model, []):
            beside = reader(path, 0, seconds)
        ratios.append(beside["rate"] / alone["rate"])
        costs.append(beside["cpu"] / alone["cpu"])
        progress(f"{alone['rate'] * READ_AHEAD_PAGES:,.0f} pages/s alone, {ratios[-1]:.3f} of it beside a tuner")
    return (
        f"Beside a tuner it reads {spread(ratios, 3)} times as fast, with {spread(costs, 3)} times the CPU time a page."
    )


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of readers with and without a tuner")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"), help="where the disk's image lies")
    parser.add_argument("--read", nargs=3, metavar=("FILE", "RATE", "SECONDS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read[0], float(options.read[1]), float(options.read[2]))
        return
    need_root()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        slow_disk(Path(folder), 1 << 30, UNLIMITED, UNLIMITED, UNLIMITED) as disk,
    ):
        disk.read_ahead.write_text(str(READ_AHEAD_PAGES * mmap.PAGESIZE >> 10))
        path = disk.folder / "file"
        path.write_bytes(os.urandom(512 << 20))
        os.sync()
        models = {"agrees": Path(folder) / "agrees.kml", "never agrees": Path(folder) / "never.kml"}
        for file, kib in zip(models.values(), (128, 8), strict=True):
            file.write_bytes(always(kib))
        costs = beside_readers(disk.name, path, models, options.seconds)
        losses = what_readers_lose(disk.name, path, models["agrees"], options.seconds / 3, options.rounds)
    print(f"{machine()}.\n\n{costs}\n\n{losses}")


if __name__ == "__main__":
    main()
