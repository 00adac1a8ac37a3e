"""mq-kmlib in guests: it keeps data, orders, learns, and can be switched, disturbed and taken away under load."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgeprof.kmodule import build
from edgeprof.kmodule.abi import LayerType
from edgeprof.kmodule.errors import CannotBuild, ToolMissing
from edgeprof.kmodule.latency import FEATURES
from edgeprof.kmodule.model import Feature
from edgeprof.kmodule.model_file import FloatLayer, network_file
from edgeprof.profiler.guest.headers import block_headers
from edgeprof.profiler.guest.kernel import Kernel
from tests.guest.machine import BAD_NEWS, CACHE, Guest, NoGuest, build_tree, debian_kernel, release_kernel
from tests.source_tree import ROOT

pytestmark = [pytest.mark.guest, pytest.mark.timeout(400)]

MODES = ("off", "observe", "act")
SCHEDULERS = ("none", "mq-deadline", "kyber", "bfq")
SCHEDULER_MODULES = ("mq-deadline", "kyber-iosched", "bfq")
CLIENT = ROOT / "tests/guest/models_in_guest.py"

COMMON = """
dmesg -c >/dev/null
queue=/sys/block/kml_disk/queue
statistics=/sys/kernel/debug/block/kml_disk/sched/statistics
load() { insmod /kml_disk.ko "$@"; echo mq-kmlib >$queue/scheduler; }
job() { # NAME, or - for one whose result nobody looks at
  name=$1
  shift
  fio --name=$name --filename=/dev/kml_disk --allow_file_create=0 --direct=1 --randseed=1 --output-format=json \\
    --output=/out/$name.json "$@"
}
mixed() { # SECONDS: reads, writes and writeback, checked where they are not overwritten
  job -direct --rw=randrw --bsrange=512-128k --blockalign=512 --size=24m --ioengine=libaio --iodepth=16 \\
    --time_based --runtime=$1 --verify=crc32c --verify_fatal=1 --do_verify=0 &
  direct=$!
  job -buffered --direct=0 --offset=64m --rw=randwrite --bs=4k --size=24m --fsync=64 --time_based --runtime=$1 &
  buffered=$!
  until grep -qE 'sync_write_completed [0-9]{3}' $statistics; do sleep 0.2; done
}
switched() { # HOW_OFTEN schedulers are changed while the jobs of mixed run
  switches=0
  while [ $switches -lt $1 ] && kill -0 $direct; do
    for scheduler in SCHEDULERS mq-kmlib; do
      echo $scheduler >$queue/scheduler
      switches=$((switches + 1))
    done
    echo $((32 + switches % 96)) >$queue/nr_requests
  done
  ended
  echo $switches
}
ended() { # the jobs of mixed; fio does not hear a signal while it begins
  while pidof fio >/dev/null; do
    kill -INT $(pidof fio) || true
    sleep 0.5
  done
  wait $direct || true
  wait $buffered || true
}
pulled_out() { # the disk goes under load; CLASS
  load class=$1
  mixed 1000
  echo 1 >/sys/kernel/debug/kml_disk/remove
  wait $direct && exit 1
  wait $buffered && exit 1
  rmmod kml_disk
}
pressed() { # verified while memory runs out again and again
  ( while [ ! -e /tmp/enough ]; do dd if=/dev/zero of=/tmp/hog bs=1M count=900 2>/dev/null; rm -f /tmp/hog; done ) &
  job pressed --rw=randrw --bsrange=4k-64k --size=12m --ioengine=libaio --iodepth=32 --verify=crc32c --verify_fatal=1
  touch /tmp/enough
}
insmod /kml.ko
insmod /mq_kmlib.ko
""".replace("SCHEDULERS", " ".join(SCHEDULERS))

SCRIPT = f"""{COMMON}
load class=ssd
for mode in {" ".join(MODES)}; do
  echo $mode >$queue/iosched/mode
  cat $queue/iosched/mode >$mode.mode
  job verify-$mode --rw=randwrite --bsrange=512-64k --blockalign=512 --size=6m --ioengine=libaio --iodepth=16 \\
    --verify=crc32c --verify_fatal=1
done
rmmod mq_kmlib && exit 1
rmmod kml && exit 1
rmmod kml_disk

load class=emmc
echo 2 >$queue/nomerges
job counted --rw=randrw --bs=4k --size=8m --ioengine=libaio --iodepth=8
cat $statistics >counted.statistics
echo 0 >$queue/nomerges
job merged --direct=0 --rw=write --bs=4k --size=8m --end_fsync=1
cat $statistics >merged.statistics
rmmod kml_disk

load class=sdcard gc_kib=0
echo 500 >$queue/iosched/priority_ageing
for class in 1 3; do
  job class-$class --prioclass=$class --offset=${{class}}0m --rw=randread --bs=4k --size=8m \\
    --ioengine=libaio --iodepth=16 --time_based --runtime=3 &
  eval job$class=$!
done
wait $job1
wait $job3
rmmod kml_disk

load class=sdcard
echo 1000 >$queue/iosched/write_expire
job reader --rw=randread --bs=4k --size=32m --ioengine=libaio --iodepth=8 --time_based --runtime=4 &
reader=$!
job writer --direct=0 --offset=64m --rw=randwrite --bs=4k --size=2m --end_fsync=0 --fsync=0 --invalidate=0
sync
sleep 1  # whoever waits for a request may run before it is counted as completed
cat $statistics >writeback.statistics
wait $reader
rmmod kml_disk

load class=ssd
mixed 1000
switched 100 >switches
mixed 1000
for round in 1 2 3 4 5 6; do
  for value in act observe off act none -1 0 1 7 99999999999999999999 "" " 1 x"; do
    for file in $queue/iosched/*; do echo "$value" >$file || true; done
    cat $statistics >/dev/null
  done 2>/dev/null
done
ended
cat $statistics >garbage.statistics
rmmod kml_disk

for class in sdcard ssd; do pulled_out $class; done

load class=ssd
pressed
rmmod kml_disk

for round in 1 2 3; do
  load class=ssd
  dd if=/dev/kml_disk of=/dev/null bs=1M count=8 2>/dev/null
  echo none >$queue/scheduler
  rmmod mq_kmlib
  grep kml_io /proc/slabinfo && exit 1
  insmod /mq_kmlib.ko
  rmmod kml_disk
done
rmmod mq_kmlib
insmod /mq_kmlib.ko trainer=nobody && exit 1
rmmod kml
dmesg >log
"""

MODELS = f"""{COMMON}
load class=emmc
mixed 1000
PYTHONPATH=/project python3 /models.py $statistics >seen.json
cat $statistics >learned.statistics
ended
echo none >$queue/scheduler
rmmod mq_kmlib
rmmod kml_disk
rmmod kml
dmesg >log
"""

ELSEWHERE = f"""{COMMON}
load class=ssd
job verify --rw=randwrite --bsrange=512-64k --blockalign=512 --size=6m --ioengine=libaio --iodepth=16 \\
  --verify=crc32c --verify_fatal=1
mixed 1000
switched 50 >switches
pressed
rmmod kml_disk
pulled_out emmc
rmmod mq_kmlib
rmmod kml
dmesg >log
"""


@dataclass(frozen=True)
class Seen:
    """What a guest left."""

    files: dict[str, str]

    def job(self, name: str) -> dict[str, Any]:
        """What fio says of its job."""
        said = self.files[f"{name}.json"]
        found: dict[str, Any] = json.loads(said[said.index("\n{") + 1 :] if said[0] != "{" else said)["jobs"][0]
        return found

    def statistics(self, name: str) -> dict[str, int]:
        """What the scheduler counted."""
        pairs = (line.split(" ", 1) for line in self.files[f"{name}.statistics"].splitlines())
        return {key: int(value) for key, value in pairs if " " not in value}


def boot(kernel: Kernel, script: str, timeout: float, **files: bytes) -> Seen:
    """Run a script in a guest of two processors that has the modules."""
    try:
        tree = build_tree(kernel)
        for name in ("kml", "mq_kmlib", "kml_disk"):
            source = block_headers(tree, cache=CACHE).parent if name == "mq_kmlib" else None
            files[f"{name}.ko"] = build.module(tree, name, source).read_bytes()
        guest = Guest(
            kernel, programs=["fio"], modules=SCHEDULER_MODULES, files=files, cpus=2, python="models.py" in files
        )
        left = guest.run(script, timeout)
    except (NoGuest, CannotBuild, ToolMissing) as reason:
        pytest.skip(str(reason))
    return Seen({name: content.decode(errors="replace") for name, content in left.items()})


@pytest.fixture(scope="module")
def seen() -> Seen:
    """All but the models, one after the other."""
    try:
        kernel = debian_kernel()
    except NoGuest as reason:
        pytest.skip(str(reason))
    return boot(kernel, SCRIPT, 180)


@pytest.mark.parametrize("mode", MODES)
def test_what_was_written_is_read_again_in_every_mode(seen: Seen, mode: str) -> None:
    job = seen.job(f"verify-{mode}")
    assert seen.files[f"{mode}.mode"] == f"{mode}\n"
    assert job["error"] == 0
    assert job["read"]["io_bytes"] == job["write"]["io_bytes"] == 6 << 20


def test_every_request_is_counted_once_in_its_class(seen: Seen) -> None:
    counted, job = seen.statistics("counted"), seen.job("counted")
    for name, kind in (("read", "read"), ("sync_write", "write")):
        reads = {counted[f"{name}_{what}"] for what in ("inserted", "dispatched", "completed")}
        assert len(reads) == 1
        assert 0 <= reads.pop() - job[kind]["total_ios"] <= 64  # whoever looks at a new disk reads, too
    assert counted["writeback_inserted"] == counted["waiting"] == counted["in_device"] == 0
    assert counted["read_latency_ns"] > 0


def test_pages_that_follow_each_other_are_merged(seen: Seen) -> None:
    merged, before = seen.statistics("merged"), seen.statistics("counted")
    requests = sum(merged[f"{name}_dispatched"] - before[f"{name}_dispatched"] for name in ("sync_write", "writeback"))
    assert requests < (8 << 20) / 4096 / 16


def test_real_time_goes_before_idle_which_yet_goes_on(seen: Seen) -> None:
    first, last = (seen.job(f"class-{number}")["read"] for number in (1, 3))
    assert last["clat_ns"]["mean"] > 3 * first["clat_ns"]["mean"]
    assert last["total_ios"] > 10


def test_writeback_is_dispatched_although_reads_never_end(seen: Seen) -> None:
    statistics = seen.statistics("writeback")
    assert seen.job("reader")["read"]["total_ios"] > 1000
    assert statistics["writeback_completed"] + statistics["sync_write_completed"] > 0
    left = statistics["writeback_inserted"] - statistics["writeback_completed"]  # some may begin as we look
    assert 0 <= left <= statistics["waiting"] + statistics["in_device"]


def test_schedulers_are_switched_under_load(seen: Seen) -> None:
    assert int(seen.files["switches"]) >= 100


def test_wrong_values_change_nothing_that_breaks(seen: Seen) -> None:
    statistics = seen.statistics("garbage")
    assert statistics["waiting"] == statistics["in_device"] == 0
    assert statistics["sync_write_completed"] > 100


def test_data_are_kept_where_memory_is_short(seen: Seen) -> None:
    assert seen.job("pressed")["error"] == 0


def test_the_kernels_log_is_clean(seen: Seen) -> None:
    assert not BAD_NEWS.search(seen.files["log"]), seen.files["log"]
    assert "mq-kmlib registered" in seen.files["log"]


def model(name: str, weights: float, bias: float, inputs: int = len(FEATURES)) -> bytes:
    """A linear model that answers the bias, and the weighted sum of its inputs."""
    features = [Feature(FEATURES[at] if at < len(FEATURES) else f"more{at}", 5.0, 0.2) for at in range(inputs)]
    layer = FloatLayer(LayerType.LINEAR, np.full((1, inputs), weights), np.array([bias]))
    return network_file(name, features, [layer])


@pytest.fixture(scope="module")
def learned() -> Seen:
    """Models come and go while the disk works; then the kernel learns one."""
    try:
        kernel = debian_kernel()
    except NoGuest as reason:
        pytest.skip(str(reason))
    models = {
        "models/good.kml": model("good", 0.0, 10.0),
        "models/wild.kml": model("wild", 60.0, -30.0),
        "models/untaught.kml": model("untaught", 0.0, 0.0),
        "models/wide.kml": model("wide", 0.0, 10.0, len(FEATURES) + 1),
    }
    return boot(kernel, MODELS, 150, **{"models.py": CLIENT.read_bytes()}, **models)


def test_a_model_of_another_shape_or_a_damaged_one_is_refused(learned: Seen) -> None:
    told = json.loads(learned.files["seen.json"])
    assert told["shape"] == [len(FEATURES), 1]
    assert told["wide"] == told["damaged"] == errno.EINVAL


def test_models_are_swapped_under_load(learned: Seen) -> None:
    told = json.loads(learned.files["seen.json"])
    assert told["swaps"] > 100
    for name in ("-direct", "-buffered"):
        assert learned.job(name)["error"] == 0
    assert not BAD_NEWS.search(learned.files["log"]), learned.files["log"]


def test_a_model_worse_than_the_mean_is_not_trusted(learned: Seen) -> None:
    wild = learned.statistics("wild")
    assert wild["read_model_predictions"] > 256
    assert wild["read_model_error_of_65536"] > wild["read_model_trivial_error_of_65536"]
    assert wild["read_model_trusted"] == 0


def test_the_kernel_learns_the_latency_of_its_disk(learned: Seen) -> None:
    counters, statistics = json.loads(learned.files["seen.json"])["counters"], learned.statistics("learned")
    untaught = json.loads(learned.files["seen.json"])["untaught"]
    assert counters["trained"] > 10000
    assert statistics["read_model_error_of_65536"] < untaught / 3


@pytest.mark.parametrize("release", ["5.10", "6.12"])
def test_other_kernels_keep_data_and_survive_the_same(release: str) -> None:
    try:
        kernel = release_kernel(release)
    except NoGuest as reason:
        pytest.skip(str(reason))
    left = boot(kernel, ELSEWHERE, 120)
    assert left.job("verify")["error"] == 0
    assert left.job("pressed")["error"] == 0
    assert int(left.files["switches"]) >= 50
    assert not BAD_NEWS.search(left.files["log"]), left.files["log"]
