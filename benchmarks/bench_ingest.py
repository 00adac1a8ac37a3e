"""How fast captured block events become a table, beside blkparse and perf script on the same requests.

One load is captured by edgeprof and by ``perf record`` at the same time.  The requests that edgeprof saw are also
written in blktrace's binary format (struct blk_io_trace of linux/blktrace_api.h), for blkparse to read.  All readers
run on one CPU and write to /dev/null.

Run as root on an otherwise idle machine: ``python benchmarks/bench_ingest.py [--seconds 10] [--rounds 3]``.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
from common import EDGEPROF, loop_device, machine, progress, spread, table

from edgeprof.collectors.block import parse as block
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs.events import read_trace

EVENTS = ("block:block_getrq", "block:block_rq_issue", "block:block_rq_complete")
BLK_RECORD = np.dtype(
    [
        ("magic", "<u4"), ("sequence", "<u4"), ("time", "<u8"), ("sector", "<u8"), ("bytes", "<u4"), ("action", "<u4"),
        ("pid", "<u4"), ("device", "<u4"), ("cpu", "<u4"), ("error", "<u2"), ("pdu_len", "<u2"),
    ]
)  # fmt: skip
BLK_MAGIC = 0x65617407
BLK_ACTIONS = {
    "queued_ns": (4, 1 << 16 | 1 << 20),
    "issued_ns": (7, 1 << 16 | 1 << 21),
    "completed_ns": (8, 1 << 16 | 1 << 22),
}
"""Column -> action number (getrq, issue, complete) and category bits (read, and queue, issue or complete)."""


def capture(folder: Path, seconds: int) -> tuple[Path, Path]:
    """Reads as fast as they go, captured by edgeprof and perf together; the run and perf.data."""
    data = folder / "perf.data"
    with loop_device(folder, 512 << 20) as device:
        perf = subprocess.Popen(
            ["perf", "record", "-q", "-a", "-m", "4096", "-o", str(data), *(f"-e{event}" for event in EVENTS)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1)
        load = [
            "fio", "--name=reads", f"--filename={device}", "--direct=1", "--rw=randread", "--bs=4k", "--size=512M",
            "--ioengine=psync", f"--runtime={seconds}", "--time_based", "--output=/dev/null",
        ]  # fmt: skip
        options = ["-q", "--no-ingest", "-o", str(folder), "--collect", "block", "--budget", "100%,1GB/s"]
        subprocess.run([EDGEPROF, "run", *options, "--", *load], check=True)
        perf.send_signal(signal.SIGINT)
        perf.wait()
    return next(folder.glob("*/raw")), data


def write_blktrace(requests: pa.Table, path: Path) -> int:
    """The requests' getrq, issue and complete as blktrace records in time order; returns how many."""
    parts = []
    for column, (number, category) in BLK_ACTIONS.items():
        part = np.zeros(requests.num_rows, BLK_RECORD)
        part["time"] = requests[column].to_numpy()
        part["sector"] = requests["sector"].to_numpy()
        part["bytes"] = requests["bytes"].to_numpy()
        part["action"] = number | category
        part["pid"] = requests["pid"].to_numpy()
        part["device"] = requests["dev"].to_numpy()
        parts.append(part)
    records = np.concatenate(parts)
    records = records[np.argsort(records["time"], kind="stable")]
    records["time"] -= records["time"][0]
    records["magic"] = BLK_MAGIC
    records["sequence"] = np.arange(1, len(records) + 1)
    path.write_bytes(records.tobytes())
    return len(records)


def cpu_of(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command pinned to one CPU."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["taskset", "-c", "0", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Capture once, read in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    shm = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shm) as name:
        folder = Path(name)
        progress("capturing")
        raw, data = capture(folder, options.seconds)
        os.sched_setaffinity(0, {0})
        pa.set_cpu_count(1)
        pa.set_io_thread_count(1)
        run = json.loads((raw.parent / "manifest.json").read_text())["run"]
        facts = RunFacts(run["start_ns"], run["end_ns"], run["pid"], run_pids=frozenset([run["pid"]]))
        trace = read_trace(raw)
        events = sum(len(trace.get(*event.split(":")).time_ns) for event in EVENTS)
        whole = block.parse(raw, facts).tables["block_io"]
        known = whole
        for column in BLK_ACTIONS:
            known = known.filter(known[column].is_valid())
        known = known.filter(pa.compute.and_(known["sector"].is_valid(), known["pid"].is_valid()))
        records = write_blktrace(known, folder / "trace.blktrace.0")
        perf_events = int(
            subprocess.run(
                ["sh", "-c", 'perf script -i "$1" -F time 2>/dev/null | wc -l', "sh", str(data)],
                check=True, capture_output=True, text=True,
            ).stdout
        )  # fmt: skip
        rates: dict[str, list[float]] = {
            "edgeprof, events to the table block_io": [],
            "blkparse": [],
            "perf script": [],
        }
        for number in range(options.rounds):
            progress(f"reading, round {number + 1} of {options.rounds}")
            began = time.process_time()
            block.parse(raw, facts)
            rates["edgeprof, events to the table block_io"].append(events / (time.process_time() - began))
            _, cpu = cpu_of(["blkparse", "-i", str(folder / "trace")])
            rates["blkparse"].append(records / cpu)
            _, cpu = cpu_of(["perf", "script", "-i", str(data)])
            rates["perf script"].append(perf_events / cpu)
    print(f"Measured on: {machine()}.\n")
    print(
        f"{events} block events captured by edgeprof, {perf_events} by perf record, {records} records for blkparse.\n"
    )
    print(
        table(
            ["reader, on one CPU", "million events a CPU second"],
            [[key, spread(value, 2, 1e-6)] for key, value in rates.items()],
        )
    )


if __name__ == "__main__":
    sys.exit(main())
