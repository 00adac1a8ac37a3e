"""Captures fio with `edgeprof run`'s agent in a guest whose cgroups are version 2 alone.

    python -m tests.guest.record_runs FOLDER

writes to FOLDER the capture directories below ``disk/runs/NAME``, what fio says of the same I/O as
``NAME.json``, and what the guest looked like before and after as ``before/NAME`` and ``after/NAME``.

The device is null_blk, which completes each request a fixed time later by a timer of the guest's own.
`ICOUNT` lets the guest's time follow its instructions, not this machine's, whose load then lengthens no
request; the delays of a disk of QEMU's would escape that.  `LATENCY` is far above the time that the kernel and fio
need for a request, so what fio measures around the system call and what is traced below it must agree.
`RATE` makes null_blk stop and go: some requests wait for many times `LATENCY`, so that percentiles differ.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.conftest import find_tool
from tests.guest.machine import Guest, debian_kernel

LATENCY = 0.004
"""Seconds that the device takes for a request."""
RATE = 12
"""MiB/s that the device lets pass: somewhat less than one request after the other would need."""
BLOCK_BYTES, TOTAL_BYTES = 64 << 10, 16 << 20
"""Of a request, and of all reads; and of all writes."""
MEMORY_LIMIT, SMALL_LIMIT = 256 << 20, 32 << 20
"""Of the runs with fio, and of the one that wants more."""
CPU_SHARE = 0.25
"""CPUs' worth of time for the run that would take all it can get."""
PERF = find_tool("perf") is not None
"""Whether there is perf to copy into the guest."""
COLLECTORS = ["procfs", "cgroup", *(["perf_stat"] if PERF else []), "block", "self"]
ICOUNT = ("-icount", "shift=0,sleep=off")
"""Of QEMU: one instruction takes 1 ns of the guest's time, and idle time is skipped."""

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

_WAIT = "for i in $(seq 400); do [ -e {} ] && break; sleep 0.05; done"

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
  find /sys/fs/cgroup -mindepth 1 -type d > $1/cgroups
  find /sys/kernel/tracing/instances -mindepth 1 -maxdepth 1 > $1/instances
  cat /sys/kernel/tracing/current_tracer /sys/kernel/tracing/tracing_on /sys/kernel/tracing/events/enable > $1/tracing
  grep . /sys/block/*/trace/enable /sys/block/*/queue/scheduler /sys/block/*/queue/read_ahead_kb > $1/disks
  ps -o comm | grep -E 'python3|perf|blktrace|fio|awk' > $1/processes || true
  cat /proc/mounts > $1/mounts
  ls -A disk/state user/state box/state 2> /dev/null | grep journal > $1/journals || true
}

agent() {
  code=0
  python3 -m edgeprof.profiler.agent /specs/$1 2> $1.err || code=$?
  echo $code > $1.code
  cat $1.err
}

capture() {
  picture before/$1
  agent $1
  picture after/$1
}

capture tracefs
capture blktrace
capture slowed

picture before/second
agent first &
{wait /tmp/first}
agent second
wait
picture after/second

picture before/killed
python3 -m edgeprof.profiler.agent /specs/killed &
pid=$!
{wait /tmp/killed}
kill -9 $pid
wait $pid || true
capture greedy

cd /sys/fs/cgroup
echo +cpu +io +memory +pids > cgroup.subtree_control
mkdir user box /out/user /out/box
chown -R 1000 user /out/user
chmod 666 /dev/nullb0
cd /out
inside() {
  picture before/$1
  code=0
  EDGEPROF_STATE=/out/$2/state sh -c 'echo $$ > $0; exec "$@"' /sys/fs/cgroup/$2/cgroup.procs $3 2> $1.err || code=$?
  echo $code > $1.code
  cat $1.err
  picture after/$1
}
as_user="/programs/setpriv --reuid 1000 --regid 1000 --clear-groups"
inside delegated user "$as_user python3 -m edgeprof.profiler.agent /specs/delegated"
inside boxed box "/programs/unshare --cgroup --mount sh /boxed boxed"
inside crowded box "/programs/unshare --cgroup --mount sh /boxed crowded"
inside limited box "/programs/unshare --cgroup --mount sh /boxed limited"
"""
"""``second`` begins while ``first`` runs and goes on for longer; ``greedy`` finds what ``killed`` left behind;
``delegated`` is an ordinary user's with a cgroup to itself, and ``boxed`` root's who sees no other, as in a container;
``crowded`` and ``limited`` have a shell beside edgeprof in there.
"""
BOXED = """
umount /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
if [ $1 = boxed ]; then exec python3 -m edgeprof.profiler.agent /specs/boxed; fi
code=0
python3 -m edgeprof.profiler.agent /specs/$1 || code=$?
exit $code
"""


def specs() -> dict[str, dict[str, Any]]:
    """The runs by name: fio with two back ends of the block collector; and commands for the run's cgroup."""
    runs: dict[str, dict[str, Any]] = {}
    for backend in ("tracefs", "blktrace"):
        command = [*_FIO, f"--output=/out/{backend}.json", *_JOBS]
        runs[backend] = {"command": command, "collect": COLLECTORS, "memory_limit": MEMORY_LIMIT}
        runs[backend]["options"] = {"block": {"backend": backend}}
    quick = ["procfs", "cgroup", "self"]
    spin = ["awk", "BEGIN { while (i++ < 1000000); }"]
    runs["slowed"] = {"command": spin, "collect": quick, "cpus": CPU_SHARE}
    greedy = ["dd", "if=/dev/zero", "of=/dev/null", f"bs={4 * SMALL_LIMIT}", "count=1"]
    runs["greedy"] = {"command": greedy, "collect": quick, "memory_limit": SMALL_LIMIT}
    first = f"touch /tmp/first; {_WAIT.format('/tmp/second')}"
    second = f"touch /tmp/second; {_WAIT.format('/out/first.code')}; exec fio {' '.join(_FIO[1:])} {' '.join(_JOBS)}"
    runs["first"] = {"command": ["sh", "-c", first], "collect": quick}
    runs["second"] = {"command": ["sh", "-c", second], "collect": quick}
    killed = {"command": ["sh", "-c", "touch /tmp/killed; exec sleep 1000"], "collect": COLLECTORS}
    runs["killed"] = {**killed, "options": {"block": {"backend": "blktrace"}}}
    runs["delegated"] = {
        "command": [*_FIO, "--output=/dev/null", *_JOBS],
        "collect": quick,
        "memory_limit": MEMORY_LIMIT,
        "folder": "/out/user/runs/delegated",
    }
    runs["boxed"] = {**runs["delegated"], "folder": "/out/box/runs/boxed"}
    runs["crowded"] = {"command": ["true"], "collect": quick, "folder": "/out/box/runs/crowded"}
    runs["limited"] = {**runs["crowded"], "memory_limit": MEMORY_LIMIT, "folder": "/out/box/runs/limited"}
    return {name: {"folder": f"/out/disk/runs/{name}", **spec, "name": name} for name, spec in runs.items()}


def record() -> dict[str, bytes]:
    """All files of fresh captures, as they lay in the guest.

    Raises:
        NoGuest, GuestFailed: see `tests.guest.machine`.
    """
    files = {f"/specs/{name}": json.dumps(spec).encode() for name, spec in specs().items()}
    guest = Guest(
        debian_kernel(),
        programs=("fio", "blktrace", "mke2fs", "setpriv", "unshare", *(["perf"] if PERF else [])),
        python=True,
        modules=("null_blk",),
        files={"/boxed": BOXED.encode(), **files},
        disks=(256 << 20,),
        options=ICOUNT,
    )
    script = re.sub(r"{wait (\S+)}", lambda found: _WAIT.format(found[1]), SCRIPT)
    script = script.replace("{latency}", str(int(LATENCY * 1e9))).replace("{rate}", str(RATE))
    return guest.run(script, timeout=110)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    for name, content in record().items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
        print(f"{target / name}: {len(content)} bytes")
