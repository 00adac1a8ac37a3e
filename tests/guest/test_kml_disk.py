"""kml_disk.ko, the test disk, in guests: it keeps data, takes the times of its model, counts, repeats, and can go."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from edgeprof.kmodule import build
from edgeprof.profiler.guest.architecture import ARM64, X86_64, Architecture
from edgeprof.profiler.guest.kernel import Kernel
from tests.guest.machine import BAD_NEWS, Guest, NoGuest, build_tree, debian_kernel, release_kernel
from tests.kml_objects import skip_without_tools

pytestmark = [pytest.mark.guest, pytest.mark.timeout(400)]

SCHEDULERS = ("none", "mq-deadline", "kyber", "bfq")
MODULES = ("mq-deadline", "kyber-iosched", "bfq")
LATENCIES = {  # fio's rw -> the model's parameters of a request, and those of a KiB
    "randread": (("command_ns", "read_random_ns"), ("bus_ns_per_kib",)),
    "read": (("command_ns", "read_sequential_ns"), ("bus_ns_per_kib",)),
    "randwrite": (("command_ns", "program_random_ns"), ("bus_ns_per_kib", "program_ns_per_kib")),
    "write": (("command_ns",), ("bus_ns_per_kib", "program_ns_per_kib")),
}
REPEATS = 3
LOADED = "sequential,size=2m,record=64k shuffled,files=32,size=50k,ops=40 inference,size=2m,ops=20,rate=40"
SAVED = "checkpoint,size=2m,record=64k,every=16,write=1m camera,frame=20k,rate=50,ops=20,sync=10"

SCRIPT = f"""
dmesg -c >/dev/null
disk=/sys/block/kml_disk
load() {{ insmod /kml_disk.ko "$@"; echo none >$disk/queue/scheduler; }}
counters() {{ cp /sys/kernel/debug/kml_disk/counters $1; }}
job() {{
  name=$1
  shift
  fio --name=$name --filename=/dev/kml_disk --direct=1 --randseed=1 --output-format=json --output=$name.json "$@"
}}

load class=ssd
for scheduler in {" ".join(SCHEDULERS)}; do
  echo $scheduler >$disk/queue/scheduler
  cat $disk/queue/scheduler >$scheduler.scheduler
  job verify-$scheduler --rw=randwrite --bsrange=512-64k --blockalign=512 --size=6m --ioengine=libaio --iodepth=16 \\
    --verify=crc32c --verify_fatal=1
done
rmmod kml_disk

load class=sdcard gc_kib=0 jitter_permille=0
( cd /sys/module/kml_disk/parameters && grep . *_ns *_kib ) >parameters
for rw in {" ".join(LATENCIES)}; do
  counters $rw.before
  job $rw --rw=$rw --bs=4k --size=256m --io_size=4m --ioengine=psync
  counters $rw.after
done
rmmod kml_disk

load class=emmc gc_kib=1024
echo 2 >$disk/queue/nomerges
counters mixed.before
job mixed --rw=randrw --bs=4k --size=16m --ioengine=libaio --iodepth=8 --fsync=64
counters mixed.after
rmmod kml_disk

for round in {" ".join(map(str, range(REPEATS)))}; do
  load class=emmc
  echo mq-deadline >$disk/queue/scheduler
  job repeated-$round --rw=randrw --bs=4k --size=16m --ioengine=libaio --iodepth=8
  rmmod kml_disk
done

load class=emmc size_mib=1024
mkdir -p /mnt
/programs/mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/kml_disk
mount -t ext4 /dev/kml_disk /mnt
loader --prepare --zeros /mnt {LOADED} {SAVED}
umount /mnt
mount -t ext4 /dev/kml_disk /mnt
loader --zeros /mnt {LOADED} {SAVED} >loader.json
umount /mnt
rmmod kml_disk

load class=nvme
free_kib() {{ awk '$1 == "MemFree:" {{ print $2 }}' /proc/meminfo; }}
free_kib >free.before
dd if=/dev/zero of=/dev/kml_disk bs=1M count=256 oflag=direct
free_kib >free.after
rmmod kml_disk

for round in 1 2 3; do
  load class=ssd
  job load --thread --rw=randwrite --bs=4k --size=16m --ioengine=libaio --iodepth=32 --time_based --runtime=60 &
  sleep 1
  rmmod kml_disk && exit 1
  kill -9 $(pidof fio)
  wait
  rmmod kml_disk
  ls -d $disk /dev/kml_disk /sys/kernel/debug/kml_disk 2>/dev/null && exit 1
done
insmod /kml_disk.ko class=floppy && exit 1
insmod /kml_disk.ko class=ssd granule_ns=0 && exit 1
insmod /kml_disk.ko class=ssd units=2 gc_units=3 && exit 1
dmesg >log
"""

PULLED = """
pulled() {
  insmod /kml_disk.ko class=sdcard size_mib=64 command_ns=5000000
  echo $1 >/sys/block/kml_disk/queue/scheduler
  dd if=/dev/zero of=/dev/kml_disk bs=4k count=16 oflag=direct # the device's file is there
  dd if=/dev/kml_disk of=/dev/null bs=4k iflag=direct 2>read-$1 &
  reader=$!
  dd if=/dev/urandom of=/dev/kml_disk bs=4k oflag=direct 2>write-$1 &
  writer=$!
  sleep 1
  echo 1 >/sys/kernel/debug/kml_disk/remove
  ls -d /sys/block/kml_disk /dev/kml_disk 2>/dev/null && exit 1
  wait $reader || true # who reads in that moment may find the end of a disk of no size
  wait $writer && exit 1
  cp /sys/kernel/debug/kml_disk/counters pulled-$1
  echo 1 2>/dev/null >/sys/kernel/debug/kml_disk/remove && exit 1
  rmmod kml_disk
}
"""
"""Takes the disk away below a reader and a writer; it is so slow that it is never idle then."""

CLASSES = {"sdcard": "none", "emmc": "mq-deadline", "ssd": "kyber", "nvme": "bfq"}
EVERYWHERE = f"""{PULLED}
dmesg -c >/dev/null
head -c 1000000 /dev/urandom >/tmp/data
try() {{
  insmod /kml_disk.ko class=$1 size_mib=16
  echo $2 >/sys/block/kml_disk/queue/scheduler
  dd if=/dev/zero of=/dev/kml_disk bs=1M count=2 conv=fsync
  dd if=/tmp/data of=/dev/kml_disk bs=65536 conv=fsync
  echo 3 >/proc/sys/vm/drop_caches
  head -c 1000000 /dev/kml_disk | cmp - /tmp/data
  cat /sys/block/kml_disk/queue/write_cache /sys/block/kml_disk/queue/rotational >$1
  rmmod kml_disk
}}
{"".join(f"try {name} {scheduler}{chr(10)}" for name, scheduler in CLASSES.items())}
{"".join(f"pulled {scheduler}{chr(10)}" for scheduler in SCHEDULERS)}
dmesg >log
"""


@dataclass(frozen=True)
class Seen:
    """What the guest left."""

    files: dict[str, str]

    def job(self, name: str) -> dict[str, Any]:
        """What fio says of its job."""
        found: dict[str, Any] = json.loads(self.files[f"{name}.json"])["jobs"][0]
        return found

    def numbers(self, name: str, separator: str = " ") -> dict[str, int]:
        """Names and numbers, one pair a line."""
        pairs = (line.split(separator) for line in self.files[name].splitlines())
        return {key: int(value) for key, value in pairs}

    def counted(self, job: str) -> dict[str, int]:
        """What the disk counted while a job ran."""
        before, after = self.numbers(f"{job}.before"), self.numbers(f"{job}.after")
        return {name: after[name] - before[name] for name in after}


def built_disk(kernel: Kernel) -> bytes:
    """``kml_disk.ko`` for a kernel; its code has no warning there."""
    module = build.module(build_tree(kernel), "kml_disk")
    log = module.with_name("build.log").read_text()
    assert "warning:" not in log, log
    return module.read_bytes()


@pytest.fixture(scope="module")
def seen() -> Seen:
    """All jobs, one after the other, in one guest whose time follows its instructions."""
    try:
        kernel = debian_kernel()
        programs = ["fio", "mke2fs", build.program(build.SOURCES / "loader" / "loader.c")]
        files = {"kml_disk.ko": built_disk(kernel)}
        guest = Guest(kernel, programs=programs, modules=MODULES, files=files, counted=True)
        left = guest.run(SCRIPT, timeout=180)
    except NoGuest as reason:
        pytest.skip(str(reason))
    return Seen({name: content.decode(errors="replace") for name, content in left.items()})


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_was_written_is_read_again_under_every_scheduler(seen: Seen, scheduler: str) -> None:
    job = seen.job(f"verify-{scheduler}")
    assert f"[{scheduler}]" in seen.files[f"{scheduler}.scheduler"]
    assert job["error"] == 0
    assert job["read"]["io_bytes"] == job["write"]["io_bytes"] == 6 << 20


def modelled(seen: Seen, rw: str) -> int:
    """Nanoseconds of a request of 4 KiB."""
    parameters = seen.numbers("parameters", ":")
    once, a_kib = LATENCIES[rw]
    return sum(parameters[name] for name in once) + 4 * sum(parameters[name] for name in a_kib)


@pytest.mark.parametrize("rw", LATENCIES)
def test_requests_take_the_time_of_the_model(seen: Seen, rw: str) -> None:
    counted = seen.counted(rw)
    kind = "read" if "read" in rw else "write"
    requests, sequential, service = (counted[f"{kind}_{name}"] for name in ("requests", "sequential", "ns"))
    assert requests == 1024
    assert sequential >= 1023 if rw == kind else sequential < 20
    assert service == sequential * modelled(seen, kind) + (requests - sequential) * modelled(seen, f"rand{kind}")
    latency = seen.job(rw)[kind]["clat_ns"]["mean"]
    assert 0 < latency - service / requests < 200_000  # the way through kernel and fio, 8 ns an instruction


@pytest.mark.parametrize(("random", "sequential"), [("randread", "read"), ("randwrite", "write")])
def test_random_requests_are_slower_by_what_the_model_says(seen: Seen, random: str, sequential: str) -> None:
    latency = {rw: seen.job(rw)[sequential]["clat_ns"]["mean"] for rw in (random, sequential)}
    slower = modelled(seen, random) - modelled(seen, sequential)
    assert latency[random] - latency[sequential] == pytest.approx(slower, rel=0.05)


def test_counters_agree_with_what_was_done(seen: Seen) -> None:
    counted, job = seen.counted("mixed"), seen.job("mixed")
    for kind in ("read", "write"):
        assert counted[f"{kind}_requests"] == job[kind]["total_ios"] > 1000
        assert counted[f"{kind}_bytes"] == job[kind]["io_bytes"] == 4096 * counted[f"{kind}_requests"]
    assert counted["flush_requests"] == job["sync"]["total_ios"] > 10
    assert counted["gc_pauses"] == counted["write_bytes"] >> 20


def test_the_same_job_takes_the_same_time_again(seen: Seen) -> None:
    jobs = [seen.job(f"repeated-{round_}") for round_ in range(REPEATS)]
    for kind in ("read", "write"):
        for figures in (
            [job[kind]["iops"] for job in jobs],
            [job[kind]["clat_ns"]["mean"] for job in jobs],
        ):
            assert max(figures) <= 1.01 * min(figures), figures


def test_the_loader_program_does_fixed_work_on_it(seen: Seen) -> None:
    found = json.loads(seen.files["loader.json"])
    assert {
        job["kind"]: (job["bytes_read"], job["bytes_written"], {k: v["count"] for k, v in job["operations"].items()})
        for job in found["jobs"]
    } == {
        "sequential": (2 << 20, 0, {"read": 32}),
        "shuffled": (40 * 50 * 1024, 0, {"read": 40}),
        "inference": (20 << 16, 0, {"read": 20}),
        "checkpoint": (2 << 20, 2 << 20, {"read": 32, "write": 2, "fsync": 2}),
        "camera": (0, 20 * 20 * 1024, {"write": 20, "fsync": 2}),
    }


def test_zeros_take_no_memory(seen: Seen) -> None:
    before, after = (int(seen.files[f"free.{when}"]) for when in ("before", "after"))
    assert before - after < 32 << 10  # KiB; 256 MiB were written


def test_the_module_goes_cleanly_and_refuses_wrong_parameters(seen: Seen) -> None:
    log = seen.files["log"]
    assert not BAD_NEWS.search(log), log
    for line in ("no class floppy", "granule_ns is out of its bounds", "gc_units is out of its bounds"):
        assert f"kml_disk: {line}" in log


@pytest.mark.parametrize(
    ("release", "architecture"),
    [("5.10", X86_64), ("6.12", X86_64), ("6.12", ARM64)],
    ids=lambda value: value if isinstance(value, str) else value.kernel,
)
def test_other_kernels_keep_data_and_lose_the_disk_cleanly(release: str, architecture: Architecture) -> None:
    skip_without_tools(architecture)
    try:
        kernel = release_kernel(release, architecture)
        files = {"kml_disk.ko": built_disk(kernel)}
        left = Guest(kernel, modules=MODULES, files=files, memory=512).run(EVERYWHERE, timeout=180)
    except NoGuest as reason:
        pytest.skip(str(reason))
    log = left["log"].decode()
    assert not BAD_NEWS.search(log), log
    for name in CLASSES:
        cache = b"through" if name == "sdcard" else b"back"
        assert left[name].split() == [b"write", cache, b"0"]
    failed = []
    for scheduler in SCHEDULERS:
        counted = dict(line.split() for line in left[f"pulled-{scheduler}"].splitlines())
        failed.append(int(counted[b"failed_requests"]))
        assert b"error" in left[f"write-{scheduler}"]
    assert max(failed) <= 64 + 2  # no more than it has tags, and their next ones
    assert any(failed)  # a slow guest may have none in flight when it looks
