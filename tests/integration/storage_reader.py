"""Reads a data set as a workload would; arguments: FOLDER, ``epochs`` or ``mapped``, and how many."""

from __future__ import annotations

import mmap
import random
import sys
from pathlib import Path

import edgeprof

folder, what, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
RECORD = 4096


def read_all() -> None:
    """Every file from its beginning to its end."""
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 16):
                pass


def touch_records(path: Path) -> None:
    """``count`` records of 4 KiB at random places of a memory-mapped file, each once."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
        for number in random.Random(1).sample(range(len(view) // RECORD), count):
            view[number * RECORD]


if what == "epochs":
    for epoch in range(count):
        with edgeprof.phase(f"epoch-{epoch}"):
            read_all()
else:
    with edgeprof.phase("mapped"):
        touch_records(next(folder.iterdir()))
