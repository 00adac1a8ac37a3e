"""Builds the /sys tree of a board from its text file in tests/data/boards."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprof.collectors.base import Roots

BOARDS = Path(__file__).parent / "data" / "boards"


def plant(board: str, folder: Path) -> Roots:
    """Make the tree of a board below ``folder``; a folder stands for a file whose reading fails."""
    sys = folder / "sys"
    sys.mkdir(parents=True)
    for line in (BOARDS / f"{board}.tree").read_text().splitlines():
        if line.startswith("#"):
            continue
        if line.endswith("/"):
            (sys / line).mkdir(parents=True)
            continue
        path, sign, text = line.partition(" -> " if " -> " in line else " = ")
        target = sys / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if "->" in sign:
            target.symlink_to(sys / text)
        elif text == "!error":
            target.mkdir()
        else:
            target.write_text(text + "\n")
    return Roots(sys=str(sys), proc=str(folder / "proc"))


@contextmanager
def heating(path: Path, until: float = math.inf) -> Iterator[None]:
    """Writes a zone's temperature fifty times a second, 10 °C more each second until ``until`` seconds have gone by."""
    stop = threading.Event()
    began = time.monotonic()

    def write() -> None:
        with path.open("r+b", buffering=0) as file:
            while not stop.wait(0.02):
                grown = 10000 * min(until, time.monotonic() - began)
                os.pwrite(file.fileno(), b"%d\n" % (50000 + grown), 0)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
