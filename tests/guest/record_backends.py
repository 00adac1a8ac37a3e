"""Captures fio in a guest with several back ends of the block collector at once.

    python -m tests.guest.record_backends FOLDER

writes small captures of the pairs that can run together to FOLDER, for tests on any machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa

from edgeprof.collectors.block.parse import parse
from edgeprof.collectors.parsing import RunFacts
from tests.guest.machine import Guest, debian_kernel

CAPTURE = Path(__file__).with_name("capture_in_guest.py")

SCRIPT = """
export PYTHONPATH=/project PYTHONDONTWRITEBYTECODE=1
echo mq-deadline > /sys/block/vdb/queue/scheduler
python3 /capture.py /out vdb {backends} fio --name=work --filename=/dev/vdb --size=16m --direct=1 \\
    --rw=randrw --bs=4k --ioengine=libaio --iodepth=8 --iodepth_batch=4 --number_ios={operations} --fsync=40 \\
    --minimal --output=/tmp/fio
"""


def record(backends: str, operations: int = 600) -> dict[str, bytes]:
    """``facts.json`` and ``BACKEND/raw/...`` of a fresh capture; ``backends`` are names with a comma between them.

    Raises:
        NoGuest, GuestFailed: see `tests.guest.machine`.
    """
    guest = Guest(
        debian_kernel(),
        programs=("fio", "blktrace"),
        python=True,
        modules=("mq_deadline",),
        files={"/capture.py": CAPTURE.read_bytes()},
        disks=(32 << 20,),
    )
    return guest.run(SCRIPT.format(backends=backends, operations=operations), timeout=100)


def tables_of(files: dict[str, bytes], folder: Path) -> dict[str, pa.Table]:
    """The table ``block_io`` of each back end of a capture, unpacked to ``folder``."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return tables_in(folder)


def tables_in(folder: Path) -> dict[str, pa.Table]:
    """The table ``block_io`` of each back end of a capture."""
    facts = json.loads((folder / "facts.json").read_bytes())
    run = RunFacts(facts["start_ns"], facts["end_ns"], facts["pid"], frozenset({facts["profiler"]}))
    return {backend: parse(folder / backend / "raw", run).tables["block_io"] for backend in facts["statuses"]}


if __name__ == "__main__":
    for pair in ("tracefs,blktrace", "tracefs,blk"):
        target = Path(sys.argv[1]) / pair.replace(",", "-")
        for name, content in record(pair, 120).items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            large = len(content) > 10_000  # as ingest leaves large raw files behind
            (target / (name + ".zst" if large else name)).write_bytes(
                pa.compress(content, "zstd", asbytes=True) if large else content
            )
