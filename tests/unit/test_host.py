"""Facts about the machine, from this one and from recorded trees: unknown is null, never a guess or an error."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent.host import (
    clock_triplet,
    devices,
    host_facts,
    is_virtual,
    mount_of,
    read_text,
    storage_factors,
)

MOUNTINFO = """22 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw
30 22 259:5 / /data rw,noatime shared:2 - xfs /dev/nvme0n1p5 rw
31 30 7:1 / /data/with\\040space ro - squashfs /dev/loop1 ro
32 22 0:30 / /data2 rw - tmpfs tmpfs rw
"""


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    """A small recorded tree."""
    write(tmp_path / "proc/meminfo", "MemTotal:        7777777 kB\nMemFree: 1 kB\n")
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nModel\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n")
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin NX\0")
    write(tmp_path / "proc/sys/vm/swappiness", "60\n")
    write(tmp_path / "proc/swaps", "Filename\tType\n/dev/zram0 partition 1 0 5\n")
    write(tmp_path / "proc/self/mountinfo", MOUNTINFO)
    disk = tmp_path / "sys/block/nvme0n1"
    write(disk / "dev", "259:0\n")
    write(disk / "size", "1000\n")
    write(disk / "queue/scheduler", "none [mq-deadline] kyber\n")
    write(disk / "queue/read_ahead_kb", "128\n")
    write(disk / "queue/rotational", "0\n")
    write(disk / "nvme0n1p5/dev", "259:5\n")
    write(disk / "nvme0n1p5/start", "2048\n")
    write(tmp_path / "sys/block/loop0/dev", "7:0\n")
    write(tmp_path / "sys/block/loop0/size", "0\n")
    return Roots(proc=str(tmp_path / "proc"), sys=str(tmp_path / "sys"))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_recorded_board(roots: Roots) -> None:
    facts = host_facts(roots, {"cwd": "/data/set"})
    assert facts["memory_bytes"] == 7777777 * 1024
    assert facts["cpu_model"] == "ARMv8 Processor rev 1 (v8l)"
    assert facts["board"] == "NVIDIA Jetson Orin NX"
    assert (facts["vm"]["swappiness"], facts["vm"]["dirty_ratio"]) == (60, None)
    assert facts["swaps"] == ["/dev/zram0 partition 1 0 5"]
    assert facts["governor"] is None


def test_disks_have_their_queue_and_partitions_their_disk(roots: Roots) -> None:
    found = devices(roots)
    assert set(found) == {"259:0", "259:5"}
    disk = found["259:0"]
    assert (disk["name"], disk["bytes"], disk["scheduler"]) == ("nvme0n1", 512_000, "mq-deadline")
    assert (disk["read_ahead_kb"], disk["rotational"], disk["nr_requests"]) == (128, 0, None)
    assert found["259:5"] == {"name": "nvme0n1p5", "disk": "nvme0n1", "start": 2048}


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/", "/", "ext4"),
        ("/home/user", "/", "ext4"),
        ("/data", "/data", "xfs"),
        ("/data/a/b", "/data", "xfs"),
        ("/data/with space/x", "/data/with space", "squashfs"),
        ("/data2/x", "/data2", "tmpfs"),
        ("/database", "/", "ext4"),
    ],
)
def test_the_mount_that_holds_a_path(roots: Roots, path: str, point: str, kind: str) -> None:
    mount = mount_of(path, roots)
    assert (mount["mount_point"], mount["file_system"]) == (point, kind)


def test_the_storage_of_the_working_folder_is_its_disks(roots: Roots) -> None:
    factors = storage_factors(host_facts(roots, {"cwd": "/data/set"}), memory_limit=1 << 30)
    assert factors == {
        "format": None,
        "file_system": "xfs",
        "device": "nvme0n1",
        "scheduler": "mq-deadline",
        "read_ahead": 128 << 10,
        "cache": None,
        "memory_limit": 1 << 30,
        "zram": 1024,
    }


def test_an_empty_tree_gives_nulls(tmp_path: Path) -> None:
    facts = host_facts(Roots(proc=str(tmp_path), sys=str(tmp_path)), {"cwd": "/data"})
    assert (facts["memory_bytes"], facts["cpu_model"], facts["board"], facts["devices"]) == (None, None, None, {})
    assert facts["mounts"]["cwd"]["file_system"] is None
    assert storage_factors(facts, None)["device"] is None


FILES = (
    *("proc/meminfo", "proc/cpuinfo", "proc/swaps", "proc/self/mountinfo", "proc/sys/vm/swappiness"),
    *("sys/block/nvme0n1/dev", "sys/block/nvme0n1/size", "sys/block/nvme0n1/queue/scheduler"),
    *("sys/block/nvme0n1/nvme0n1p5/dev", "sys/kernel/mm/transparent_hugepage/enabled"),
)
TEXT = st.text(alphabet="MemTotal: kB\n-[]\t0123456789\\ ²", max_size=60)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from(FILES), TEXT))
def test_no_text_in_a_tree_raises(roots: Roots, changed: dict[str, str]) -> None:
    base = Path(roots.proc).parent
    for name, text in changed.items():
        write(base / name, text)
    storage_factors(host_facts(roots, {"cwd": "/data"}), None)


def test_this_machine(tmp_path: Path) -> None:
    facts = host_facts(Roots(), {"cwd": str(tmp_path)})
    assert facts["kernel"] == os.uname().release
    assert facts["memory_bytes"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    assert facts["mounts"]["cwd"]["mount_point"] or "/" not in points, "only a chroot has no mount for its root"
    assert facts["virtualization"] in ("bare", "vm", "container")


def test_an_emulated_arm_machine_is_told_by_its_device_tree(tmp_path: Path) -> None:
    roots = Roots(proc=str(tmp_path / "proc"), sys=str(tmp_path / "sys"))
    assert not is_virtual(roots)
    write(tmp_path / "proc/device-tree/compatible", "linux,dummy-virt\0")
    assert is_virtual(roots)


def test_a_triplet_of_clocks_is_read_together() -> None:
    before = time.monotonic_ns()
    triplet = clock_triplet("start")
    assert before <= triplet["monotonic_ns"] <= time.monotonic_ns()
    assert triplet["boottime_ns"] >= triplet["monotonic_ns"] - triplet["error_ns"]
    assert triplet["error_ns"] >= 0
    assert abs(triplet["realtime_ns"] - time.time_ns()) < 60 * 10**9


def test_text_that_is_missing_is_none(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b" \xffmodel\0\n")
    assert read_text(str(tmp_path / "odd")) == "\ufffdmodel"
    assert read_text(str(tmp_path / "none")) is None
    assert read_text(str(tmp_path)) is None
