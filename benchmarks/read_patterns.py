"""Reads as the loaders of a training do, one pattern for some seconds: what to find the best read-ahead of it by.

    edgeprof run --collect deep --file-system ext4 --fs-size 400M --read-ahead 128K --memory-limit 96M -- \
        python benchmarks/read_patterns.py random-mmap-16k

A pattern is ORDER-CALL-SIZE.  ORDER: `sequential`, one file from its beginning; `interleaved`, four files in turn;
`random`, places of one file; `files`, whole files in random order.  CALL: `read` or `mmap`.  SIZE: of one sample.
Each batch of samples is a step of the run, so that its `throughput` is in samples a second and leaves out the writing
of the files before.  Files are larger than the memory limit leaves room for: what is read again comes from the disk.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import edgeprof

TOTAL_MIB = 192
STREAMS = 4
BATCH = 8
_BLOCK = 1 << 20


def main() -> None:
    """Write the files that the pattern needs, then read them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", help="such as random-mmap-16k")
    parser.add_argument("--seconds", type=float, default=1.5, help="how long to read; default 1.5")
    parser.add_argument("--total", type=int, default=TOTAL_MIB, help=f"MiB of all files; default {TOTAL_MIB}")
    parser.add_argument("--folder", type=Path, default=os.environ.get("EDGEPROF_DATA"), help="default: $EDGEPROF_DATA")
    parser.add_argument("--seed", type=int, default=0, help="of the random order")
    options = parser.parse_args()
    order, call, size = parts_of(parser, options.pattern)
    if options.folder is None:
        parser.error("name a --folder, or run it under `edgeprof run --file-system ext4 --fs-size 400M`")
    total = options.total << 20
    count = {"files": total // size, "interleaved": STREAMS}.get(order, 1)
    paths = write_files(options.folder, count, total // count)
    samples = _samples(order, call, paths, size, total // count // size, random.Random(options.seed))
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        for _ in range(BATCH):
            next(samples)
        edgeprof.step(samples=BATCH)


def parts_of(parser: argparse.ArgumentParser, pattern: str) -> tuple[str, str, int]:
    """Order, call and bytes of a pattern; what is none is the parser's error."""
    parts = pattern.split("-")
    known = len(parts) == 3 and parts[0] in ("sequential", "interleaved", "random", "files")
    if not known or parts[1] not in ("read", "mmap") or not parts[2].removesuffix("k").isdigit():
        parser.error(f"{pattern!r} is no pattern; write it like random-mmap-16k")
    return parts[0], parts[1], int(parts[2].removesuffix("k")) << 10


def write_files(folder: Path, count: int, size: int) -> list[Path]:
    """``count`` files of ``size`` bytes on the disk, and none of them in memory."""
    block = os.urandom(_BLOCK)
    paths = [folder / f"{number:05}" for number in range(count)]
    for path in paths:
        with path.open("wb", buffering=0) as file:
            for place in range(0, size, _BLOCK):
                file.write(block[: size - place])
    subprocess.run(["sync", "-f", folder], check=True)  # all at once: thousands of fsync take seconds
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return paths


def _samples(order: str, call: str, paths: list[Path], size: int, in_file: int, draw: random.Random) -> Iterator[bytes]:
    """Samples without end; a file has ``in_file`` of them."""
    if order == "files":
        while True:
            with Opened(draw.choice(paths), call) as reader:
                yield reader.sample(0, size)
    readers = [Opened(path, call) for path in paths]
    number = 0
    while True:
        place = draw.randrange(in_file) if order == "random" else number // len(readers) % in_file
        yield readers[number % len(readers)].sample(place * size, size)
        number += 1


class Opened:
    """A file that samples are taken from, by read calls or out of a mapping."""

    def __init__(self, path: Path, call: str) -> None:
        self._fd = os.open(path, os.O_RDONLY)
        self._map = mmap.mmap(self._fd, 0, prot=mmap.PROT_READ) if call == "mmap" else None
        self.sample: Callable[[int, int], bytes] = self._mapped if self._map is not None else self._read

    def _read(self, place: int, size: int) -> bytes:
        return os.pread(self._fd, size, place)

    def _mapped(self, place: int, size: int) -> bytes:
        assert self._map is not None
        return self._map[place : place + size]

    def __enter__(self) -> Opened:
        return self

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            self._map.close()
        os.close(self._fd)


if __name__ == "__main__":
    main()
