"""The roles that are no models: a camera recorder that writes frames, and a map whose tiles are read.

python -m edgeprof.workloads.scenarios.streams ROLE-AS-JSON SECONDS FOLDER
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import edgeprof
from edgeprof.workloads import gate
from edgeprof.workloads.arrivals import Served, serve

_CHUNK = 1 << 20
_FRAMES = 16
"""Different frames that the recorder writes in turn: a compressed picture is as good as random."""


def make_map(path: Path, size: int, seed: int) -> None:
    """Write a map of ``size`` random bytes, unless it is there; the same seed gives the same bytes."""
    if path.exists() and path.stat().st_size == size:
        return
    source = random.Random(seed)  # noqa: S311  (content of a file, no secret)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for start in range(0, size, _CHUNK):
                file.write(source.randbytes(min(_CHUNK, size - start)))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def record(role: dict[str, Any], seconds: float, folder: Path) -> Served:
    """Write frames into a file that begins anew when it is full; every ``sync`` seconds it must be on the disk."""
    size, total, pause = role["bytes"], role["total"], int(role["sync"] * 1e9)
    source = random.Random(0)  # noqa: S311  (content of frames, no secret)
    frames = [source.randbytes(size) for _ in range(_FRAMES)]
    file = os.open(folder / f"{role['name']}.frames", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    gate.ready_and_wait()
    due = time.monotonic_ns() + pause

    def answer(number: int) -> None:
        nonlocal due
        with edgeprof.phase("write"):
            os.pwrite(file, frames[number % _FRAMES], number % (total // size) * size)
        if pause and time.monotonic_ns() >= due:
            with edgeprof.phase("sync"):
                os.fdatasync(file)
            due = time.monotonic_ns() + pause

    try:
        return serve(answer, role["rate"], role["deadline"], seconds)
    finally:
        os.close(file)


def read_tiles(role: dict[str, Any], seconds: float, folder: Path) -> Served:
    """Read tiles of the map at random places."""
    size = role["bytes"]
    file = os.open(role["data"], os.O_RDONLY | os.O_CLOEXEC)
    places = os.fstat(file).st_size // size
    if not places:
        raise ValueError("the map is smaller than one tile")
    source = random.Random(1)  # noqa: S311  (order of reads, no secret)
    gate.ready_and_wait()

    def answer(number: int) -> None:
        with edgeprof.phase("load"):
            os.pread(file, size, source.randrange(places) * size)

    try:
        return serve(answer, role["rate"], role["deadline"], seconds)
    finally:
        os.close(file)


STREAMS: dict[str, Callable[[dict[str, Any], float, Path], Served]] = {"recorder": record, "tiles": read_tiles}


def main(arguments: Sequence[str]) -> int:
    """Run one role; its result is one line of JSON."""
    role = json.loads(arguments[0])
    try:
        served = STREAMS[role["kind"]](role, float(arguments[1]), Path(arguments[2]))
    except (OSError, ValueError) as error:
        print(f"{role['name']}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(asdict(served)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
