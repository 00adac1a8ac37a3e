"""Captures fio with `edgeprof run`'s agent in a guest whose cgroups are version 2 alone.

    python -m tests.guest.record_runs FOLDER

writes to FOLDER the capture directories below ``runs/NAME``, what fio says of the same I/O as
``NAME.json``, and what the machine looked like before and after as ``before/NAME`` and ``after/NAME``.

The device is null_blk, which completes each request a fixed time later by a timer of the guest's own.
`ICOUNT` lets the guest's time follow its instructions, not this machine's, whose load then lengthens no
request; the delays of a disk of QEMU's would escape that.  `LATENCY` is far above the time that the kernel and fio
need for a request, so what fio measures around the system call and what is traced below it must agree.
`RATE` makes null_blk stop and go: some requests wait for many times `LATENCY`, so that percentiles differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests.guest.machine import Guest, debian_kernel

LATENCY = 0.004
"""Seconds that the device takes for a request."""
RATE = 12
"""MiB/s that the device lets pass: somewhat less than one request after the other would need."""
BLOCK_BYTES, TOTAL_BYTES = 64 << 10, 16 << 20
"""Of a request, and of all reads; and of all writes."""
MEMORY_LIMIT, SMALL_LIMIT = 256 << 20, 32 << 20
"""Of the runs with fio, and of the one that wants more."""
CPUS = 0.9
"""CPUs' worth of time for the runs with fio."""
COLLECTORS = ["procfs", "cgroup", "perf_stat", "block", "self"]
ICOUNT = ("-icount", "shift=2,sleep=off")
"""Of QEMU: one instruction takes 4 ns of the guest's time, and idle time is skipped."""

_FIO = [
    "fio",
    "--filename=/dev/nullb0",
    f"--size={TOTAL_BYTES}",
    f"--bs={BLOCK_BYTES}",
    "--direct=1",
    "--ioengine=psync",
    "--output-format=json",
    "--percentile_list=50:90:99",
    "--lat_percentiles=0",
    "--randrepeat=1",
]
_JOBS = ["--name=reads", "--rw=randread", "--name=writes", "--rw=randwrite", "--stonewall"]

SCRIPT = """
export PYTHONPATH=/project EDGEPROF_STATE=/out/disk/state
mount -t cgroup2 cgroup2 /sys/fs/cgroup
rmmod null_blk
insmod /lib/null_blk.ko gb=1 irqmode=2 completion_nsec={latency} mbps={rate}
/programs/mke2fs -q -t ext4 /dev/vdb
mkdir disk before after
mount -t ext4 /dev/vdb disk

picture() {
  mkdir $1
  cat /sys/fs/cgroup/cgroup.subtree_control > $1/controllers
  find /sys/fs/cgroup -mindepth 1 -type d | sort > $1/cgroups
  find /sys/kernel/tracing/instances -mindepth 1 -maxdepth 1 > $1/instances
  cat /sys/kernel/tracing/current_tracer /sys/kernel/tracing/tracing_on /sys/kernel/tracing/events/enable > $1/tracing
  grep . /sys/block/*/trace/enable /sys/block/*/queue/scheduler /sys/block/*/queue/read_ahead_kb > $1/disks
  ps -o comm | grep -E 'python3|perf|blktrace|fio|awk' | sort > $1/processes || true
  cat /proc/mounts > $1/mounts
  ls -A disk/state > $1/journals 2> /dev/null || true
}

capture() {
  picture before/$1
  code=0
  python3 -m edgeprof.profiler.agent /specs/$1 2> $1.err || code=$?
  echo $code > $1.code
  picture after/$1
}

for name in {names}; do capture $name; done
cat /proc/uptime
"""


def specs() -> dict[str, dict[str, Any]]:
    """The runs by name: fio with two back ends of the block collector, and a command that may not have its memory."""
    common = {"collect": COLLECTORS, "memory_limit": MEMORY_LIMIT, "cpus": CPUS}
    runs: dict[str, dict[str, Any]] = {}
    for backend in ("tracefs", "blktrace"):
        command = [*_FIO, f"--output=/out/{backend}.json", *_JOBS]
        runs[backend] = {**common, "command": command, "options": {"block": {"backend": backend}}}
    greedy = ["dd", "if=/dev/zero", "of=/dev/null", f"bs={4 * SMALL_LIMIT}", "count=1"]
    runs["greedy"] = {"command": greedy, "collect": ["procfs", "cgroup", "self"], "memory_limit": SMALL_LIMIT}
    return {name: {**spec, "name": name, "folder": f"/out/disk/runs/{name}"} for name, spec in runs.items()}


def record() -> dict[str, bytes]:
    """All files of fresh captures, as they lay in the guest.

    Raises:
        NoGuest, GuestFailed: see `tests.guest.machine`.
    """
    wanted = specs()
    guest = Guest(
        debian_kernel(),
        programs=("fio", "blktrace", "perf", "mke2fs"),
        python=True,
        modules=("null_blk",),
        files={f"/specs/{name}": json.dumps(spec).encode() for name, spec in wanted.items()},
        disks=(256 << 20,),
        options=ICOUNT,
    )
    script = SCRIPT
    for key, value in {"latency": int(LATENCY * 1e9), "rate": RATE, "names": " ".join(wanted)}.items():
        script = script.replace(f"{{{key}}}", str(value))
    return guest.run(script, timeout=110)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for name, content in record().items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
        print(f"{target / name}: {len(content)} bytes")
