"""Captures which read-ahead serves a pattern of reading best, in guests on the test disk: runs for a training set.

    python benchmarks/readahead_guests.py OUTPUT            # goes on where it was stopped; 40 guests, 640 runs
    edgeprof dataset build readahead OUTPUT -o set.parquet

Each guest boots with counted instructions (docs/test-disk.md), so that its times do not depend on the host's load, and
has one class of disk and one pattern.  At each read-ahead the loader works three times from a cold cache: untraced with
two seeds, which tells how fast it is, and traced, which tells what it adds to the page cache.  Files are larger than
memory, so that what is read again comes from the disk.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof import __version__
from edgeprof.collectors.page_cache.parse import columns_of, in_order, to_table
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.tracefs.events import read_trace
from edgeprof.kmodule import build
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.guest import architecture
from edgeprof.profiler.guest.headers import build_tree
from edgeprof.profiler.guest.kernel import Kernel
from edgeprof.profiler.guest.releases import release_kernel
from edgeprof.profiler.guest.script import Guest
from edgeprof.profiler.run import SCHEMA_VERSION
from edgeprof.profiler.training_sets.readahead_choices import CHOICES_KIB

DISK = "kml_disk"
KERNEL = "6.1"
MEMORY_MIB, DATA, DISK_MIB = 256, "288m", 416
SECONDS = 0.7
"""That a run should take in the guest, about."""
CLASSES = {"sdcard": (600, 44), "emmc": (250, 250), "ssd": (150, 500), "nvme": (120, 900)}
"""About how long a small read takes there, the guest's own work included (us), and MB/s of large ones: for how many
operations a run has."""


@dataclass(frozen=True)
class Pattern:
    """How files are read: the loader's job, bytes of an operation, and whether more is read than asked for."""

    job: str
    bytes: int
    random_map: bool = False

    def operations(self, disk: str, kib: int) -> int:
        """So many that a run takes about `SECONDS`."""
        latency_us, rate = CLASSES[disk]
        moved = max(self.bytes, kib << 10) if self.random_map else self.bytes
        requests = max(1, self.bytes // (kib << 10))
        return max(24, round(SECONDS / (requests * latency_us / 1e6 + moved / (rate * 1e6))))


TRACED, UNTRACED = 1, 2
"""Seeds."""
SETTINGS = [(kib, seed) for kib in CHOICES_KIB for seed in (TRACED, UNTRACED)]

PATTERNS = {
    "sequential-read-128k": Pattern(f"sequential,size={DATA},shards=1,record=128k", 128 << 10),
    "interleaved-read-128k": Pattern(f"sequential,size={DATA},shards=4,record=128k,workers=4", 128 << 10),
    "files-read-110k": Pattern("shuffled,files=2600,size=110k", 110 << 10),
    "files-read-24k": Pattern("shuffled,files=9000,size=24k", 24 << 10),
    "random-read-16k": Pattern(f"inference,size={DATA},read=16k,rate=0", 16 << 10),
    "random-read-256k": Pattern(f"inference,size={DATA},read=256k,rate=0", 256 << 10),
    "random-mmap-4k": Pattern(f"mmap,size={DATA},row=4k", 4 << 10, True),
    "random-mmap-16k": Pattern(f"mmap,size={DATA},row=16k", 16 << 10, True),
    "random-mmap-64k": Pattern(f"mmap,size={DATA},row=64k", 64 << 10, True),
    "random-mmap-256k": Pattern(f"mmap,size={DATA},row=256k", 256 << 10, True),
}

SCRIPT = """
insmod /{disk}.ko class={disk_class} size_mib={disk_mib}
/programs/mke2fs -q -t ext4 -m 0 -i 8192 -E lazy_itable_init=0,lazy_journal_init=0 -J size=4 /dev/{disk}
mkdir /files
mount -t ext4 /dev/{disk} /files
loader --prepare --zeros /files {job}
trace=/sys/kernel/tracing/instances/read-ahead
event=$trace/events/filemap/mm_filemap_add_to_page_cache
mkdir $trace
echo mono >$trace/trace_clock
echo 24576 >$trace/buffer_size_kb
IFS=: read major minor </sys/block/{disk}/dev
echo $major:$minor >number
echo "s_dev == $((major << 20 | minor))" >$event/filter
cold() {{
  umount /files
  echo 3 >/proc/sys/vm/drop_caches
  mount -t ext4 /dev/{disk} /files
}}
run() {{
  kib=$1 seed=$2 operations=$3
  left=$kib-$seed
  mkdir $left
  echo $kib >/sys/block/{disk}/queue/read_ahead_kb
  cold
  loader --zeros --seed $seed /files {job},ops=$operations >$left/untraced.json
  [ $seed = {traced_seed} ] || return 0
  raw=$left/raw/tracefs
  mkdir -p $raw/formats
  cold
  echo >$trace/trace
  echo 1 >$event/enable
  loader --zeros --seed $seed /files {job},ops=$operations >$left/traced.json
  echo 0 >$event/enable
  for cpu in $trace/per_cpu/cpu*; do
    /programs/dd if=$cpu/trace_pipe_raw of=$raw/${{cpu##*/}}.raw bs=4096 iflag=nonblock 2>/dev/null || true
    cat $cpu/stats >$raw/stats.${{cpu##*/}}
  done
  cat /sys/kernel/tracing/events/header_page >$raw/header_page
  cat /sys/kernel/tracing/events/header_event >$raw/header_event
  cat $event/format >$raw/formats/filemap.mm_filemap_add_to_page_cache
}}
"""


def main() -> int:
    """Boot the guests that are left; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the runs")
    parser.add_argument("--class", dest="classes", nargs="+", choices=CLASSES, default=list(CLASSES))
    parser.add_argument("--pattern", nargs="+", choices=PATTERNS, default=list(PATTERNS))
    parser.add_argument("--at-once", type=int, default=2, help="guests; default 2")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    left = [
        (disk, pattern)
        for pattern in options.pattern
        for disk in options.classes
        if not all(_folder(options.output, disk, pattern, *setting).is_dir() for setting in SETTINGS)
    ]
    kernel = release_kernel(KERNEL, architecture.here())
    module = build.module(build_tree(kernel), DISK).read_bytes()
    loader = build.program(build.SOURCES / "loader" / "loader.c")
    failed = 0
    pool = ThreadPoolExecutor(options.at_once)
    try:
        running = {pool.submit(capture, kernel, module, loader, *item, options.output): item for item in left}
        for number, done in enumerate(as_completed(running), start=1):
            words = " ".join(running[done])
            try:
                done.result()
            except (EdgeprofError, OSError, KeyError, ValueError) as error:
                failed += 1
                words += f": {error}"
            print(f"[{number}/{len(left)}] {words}", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, no other guest begins
    return 1 if failed else 0


def capture(kernel: Kernel, module: bytes, loader: Path, disk: str, name: str, output: Path) -> None:
    """Boot one guest, and make a run of what it left at each read-ahead."""
    pattern = PATTERNS[name]
    runs = "\n".join(f"run {kib} {seed} {pattern.operations(disk, kib)}" for kib, seed in SETTINGS)
    guest = Guest(
        kernel,
        programs=["dd", "mke2fs", loader],
        files={f"{DISK}.ko": module},
        memory=MEMORY_MIB,
        counted=True,
    )
    script = SCRIPT.format(disk=DISK, disk_class=disk, disk_mib=DISK_MIB, traced_seed=TRACED, job=pattern.job)
    left = guest.run(f"{script}{runs}\n", timeout=1800)
    number = left["number"].decode().strip()
    for kib, seed in SETTINGS:
        own = f"{kib}-{seed}/"
        inside = {path.removeprefix(own): content for path, content in left.items() if path.startswith(own)}
        target = _folder(output, disk, name, kib, seed)
        with tempfile.TemporaryDirectory(dir=output, prefix=".") as scratch:
            made = Path(scratch) / target.name
            write_run(made, inside, number, kernel.version, disk, name, kib)
            shutil.rmtree(target, ignore_errors=True)
            made.rename(target)


def _folder(output: Path, disk: str, pattern: str, kib: int, seed: int) -> Path:
    return output / f"{disk}-{pattern}-{kib}-{seed}"


def write_run(
    folder: Path, left: Mapping[str, bytes], number: str, version: str, disk: str, pattern: str, kib: int
) -> None:
    """A capture directory as `edgeprof.profiler.run` reads it."""
    (folder / "tables").mkdir(parents=True)
    lost = write_additions(folder, left) if "traced.json" in left else None
    job = json.loads(left["untraced.json"])["jobs"][0]
    throughput = {
        "name": "throughput",
        "value": job["operations"]["read"]["count"] / job["seconds"],
        "unit": "samples/s",
        **dict.fromkeys(("phase", "reason", "how")),
    }
    pq.write_table(pa.Table.from_pylist([throughput]), folder / "metrics.parquet")
    manifest = {
        "schema": SCHEMA_VERSION,
        "edgeprof": __version__,
        "run": {
            "id": folder.name,
            "name": pattern,
            "command": ["loader", pattern],
            "status": "finished",
            "exit_code": 0,
            "wall_time": job["seconds"],
        },
        "factors": {
            "storage": {"device": disk, "file_system": "ext4", "scheduler": "none", "read_ahead": kib << 10},
            "isolation": "vm",
        },
        "host": {
            "hostname": f"test disk {disk}",
            "kernel": version,
            "devices": {number: {"name": DISK, "model": disk, "rotational": 0}},
            "page_bytes": 4096,
        },
        "setup": {"storage": {"disk": {"name": DISK}}},
        "collectors": [
            {"name": "page_cache", "available": lost is not None, "mode": "full", "lost": lost, "notes": []}
        ],
        "overhead": {},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


def write_additions(folder: Path, left: Mapping[str, bytes]) -> int | None:
    """The table ``page_cache`` of a trace; how many records were lost."""
    for path, content in left.items():
        if path.startswith("raw/"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    trace = read_trace(folder / "raw")
    facts = RunFacts(start_ns=0, end_ns=None, main_pid=0)
    table = to_table(in_order(columns_of(trace)), trace, facts, {})
    pq.write_table(table, folder / "tables" / "page_cache.parquet", compression="zstd")
    shutil.rmtree(folder / "raw")
    return trace.lost


if __name__ == "__main__":
    sys.exit(main())
