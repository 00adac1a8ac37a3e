"""Cgroup files of v2 and v1, as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter
from edgeprof.collectors.cgroup import parse as cgroup
from edgeprof.collectors.cgroup.capture import Cgroup
from edgeprof.collectors.cgroup.parse import cgroup_table, io_table, members
from edgeprof.collectors.frames import FrameFile, Series
from edgeprof.collectors.parsing import RunFacts

FACTS = RunFacts(start_ns=0, end_ns=None, main_pid=0)

V2 = {
    "unified/memory.current": b"12607488\n",
    "unified/memory.peak": b"52428800\n",
    "unified/memory.max": b"max\n",
    "unified/memory.swap.current": b"4096\n",
    "unified/memory.stat": b"anon 2867200\nfile 8110080\npgfault 5213\nworkingset_refault_file 12\nzswpin 1\n",
    "unified/memory.events": b"low 0\nhigh 0\nmax 7\noom 1\noom_kill 2\noom_group_kill 0\n",
    "unified/cpu.stat": b"usage_usec 2548903\nuser_usec 1548201\nsystem_usec 1000702\nnice_usec 3000000\n"
    b"core_sched.force_idle_usec 0\nnr_periods 25\nnr_throttled 20\nthrottled_usec 1875000\nburst_usec 0\n",
    "unified/cpu.max": b"50000 100000\n",
    "unified/memory.pressure": b"some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\n"
    b"full avg10=0.00 avg60=0.00 avg300=0.00 total=250000\n",
    "unified/io.stat": b"8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n"
    b"254:0 rbytes=90430464 wbytes=299008000 rios=8950 wios=1252 dbytes=50331648 dios=3021\n",
}
"""Linux 6.1 (pure v2) and the examples of Documentation/admin-guide/cgroup-v2.rst."""

V1 = {
    "memory/memory.usage_in_bytes": b"9437184\n",
    "memory/memory.max_usage_in_bytes": b"94371840\n",
    "memory/memory.limit_in_bytes": b"100663296\n",
    "memory/memory.failcnt": b"41\n",
    "memory/memory.stat": b"cache 135168\nrss 811008\nrss_huge 0\npgpgin 1254\ntotal_rss 811008\n",
    "memory/memory.oom_control": b"oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "cpuacct/cpuacct.usage": b"3480021345\n",
    "cpuacct/cpuacct.stat": b"user 347\nsystem 112\n",
    "cpu/cpu.stat": b"nr_periods 8\nnr_throttled 5\nthrottled_time 375000000\nwait_sum 2000000000\nnr_bursts 0\n"
    b"burst_time 500000000\n",
    "cpu/cpu.cfs_quota_us": b"150000\n",
    "cpu/cpu.cfs_period_us": b"100000\n",
    "blkio/blkio.throttle.io_service_bytes_recursive": b"254:0 Read 15707672576\n254:0 Write 7945605120\n"
    b"254:0 Sync 27143778304\n254:0 Async 2693218304\n254:0 Discard 6183718912\n254:0 Total 29836996608\n"
    b"Total 29836996608\n",
    "blkio/blkio.throttle.io_serviced_recursive": b"254:0 Read 1490\n254:0 Write 794\nTotal 2284\n",
}
"""Linux 6.18 with v1 hierarchies."""


def frames(files: dict[str, bytes]) -> FrameFile:
    return FrameFile({name: Series(name, [9], [payload]) for name, payload in files.items()}, None)


def test_a_v2_cgroup() -> None:
    table = cgroup_table(frames(V2))
    (row,) = table.to_pylist()
    assert (row["memory_current"], row["memory_peak"], row["memory_limit"]) == (12607488, 52428800, None)
    assert (row["stat_anon"], row["stat_pgfault"], row["swap_current"]) == (2867200, 5213, 4096)
    assert (row["events_oom_kill"], row["events_max"]) == (2, 7)
    assert (row["cpu_usage"], row["cpu_user"], row["cpu_throttled"]) == (2.548903, 1.548201, 1.875)
    assert (row["cpu_nr_throttled"], row["cpu_nice"], row["cpu_limit"]) == (20, 3.0, 0.5)
    assert (row["psi_memory_some_total"], row["psi_memory_full_total"]) == (1.5, 0.25)
    assert (
        units(table).items()
        >= {
            "stat_anon": "bytes",
            "stat_pgfault": "count",
            "stat_workingset_refault_file": "count",
            "stat_zswpin": "count",
            "events_oom_kill": "count",
            "cpu_usage": "s",
            "cpu_nice": "s",
            "cpu_core_sched_force_idle": "s",
            "cpu_nr_throttled": "count",
            "cpu_limit": "CPUs",
            "psi_memory_some_total": "s",
            "swap_current": "bytes",
        }.items()
    )


def units(table: object) -> dict[str, str]:
    """Column -> unit."""
    return {field.name: field.metadata[b"unit"].decode() for field in table.schema}  # type: ignore[attr-defined]


def test_a_v1_cgroup() -> None:
    table = cgroup_table(frames(V1))
    (row,) = table.to_pylist()
    assert (row["memory_current"], row["memory_peak"], row["memory_limit"]) == (9437184, 94371840, 100663296)
    assert (row["stat_rss"], row["stat_pgpgin"], row["events_max"], row["oom_oom_kill"]) == (811008, 1254, 41, 1)
    assert (row["cpu_usage"], row["cpu_user"], row["cpu_system"]) == (3.480021345, 3.47, 1.12)
    assert (row["cpu_throttled"], row["cpu_wait"], row["cpu_burst"], row["cpu_nr_throttled"]) == (0.375, 2.0, 0.5, 5)
    assert row["cpu_limit"] == 1.5


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"unified/cpu.max": b"max 100000\n"}, None),
        ({"unified/cpu.max": b"50000\n"}, None),
        ({"unified/cpu.max": b"0 0\n"}, None),
        ({"cpu/cpu.cfs_quota_us": b"-1\n", "cpu/cpu.cfs_period_us": b"100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": b"1000\n"}, None),
        ({"unified/cpu.max": b"25000 100000\n"}, 0.25),
    ],
)
def test_limits_of_cpu_time(files: dict[str, bytes], limit: float | None) -> None:
    rows = cgroup_table(frames({**files, "unified/memory.current": b"1\n"})).to_pylist()
    assert rows[0].get("cpu_limit") == limit


def test_no_limit_of_v1_is_null() -> None:
    (row,) = cgroup_table(frames({**V1, "memory/memory.limit_in_bytes": b"9223372036854771712\n"})).to_pylist()
    assert row["memory_limit"] is None


def test_io_of_both_versions() -> None:
    assert io_table(frames(V2)).to_pylist() == [
        {
            "time_ns": 9,
            "device": device,
            "read_bytes": read,
            "write_bytes": written,
            "read_ios": reads,
            "write_ios": writes,
        }
        for device, read, written, reads, writes in (
            ("254:0", 90430464, 299008000, 8950, 1252),
            ("8:16", 1459200, 314773504, 192, 353),
        )
    ]
    (row,) = io_table(frames(V1)).to_pylist()
    assert (row["device"], row["read_bytes"], row["write_bytes"]) == ("254:0", 15707672576, 7945605120)
    assert (row["read_ios"], row["write_ios"]) == (1490, 794)


def test_members_are_gathered_over_all_samples(tmp_path: Path) -> None:
    assert members(tmp_path) == frozenset()
    (tmp_path / "cgroup").mkdir()
    writer = FrameWriter(str(tmp_path / "cgroup/samples.frames"))
    source = writer.source("members")
    for payload in (b"12\n13\n", b"13\n99\nx\n", b""):
        writer.frame(1, source, payload)
    writer.close()
    assert members(tmp_path) == {12, 13, 99}


def test_nothing_captured_is_nothing_parsed(tmp_path: Path) -> None:
    assert cgroup.parse(tmp_path, FACTS).tables == {}


SOURCES = [*V2, *V1, "members", "unified/none"]
PIECES = st.sampled_from(
    [*V2.values(), *V1.values(), b"9" * 25, b"-1", b" ", b"\n", b"=", b"rbytes=", b"total=", b"max"]
)


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(
        st.sampled_from(SOURCES),
        st.one_of(st.binary(max_size=60), st.lists(PIECES, max_size=5).map(b"".join)),
        max_size=6,
    )
)
def test_no_payload_raises(files: dict[str, bytes]) -> None:
    made = frames(files)
    cgroup_table(made).validate(full=True)
    io_table(made).validate(full=True)


def test_a_recorded_tree_of_a_board_with_linux_4_9_is_read(tmp_path: Path) -> None:
    """There, blkio's recursive files are missing; the cgroup's own counts stand in for them."""
    folders = {name: tmp_path / name for name in ("memory", "blkio", "cpu", "cpuacct")}
    for source, payload in V1.items():
        controller, _, name = source.partition("/")
        folders[controller].mkdir(exist_ok=True)
        (folders[controller] / name.replace("_recursive", "")).write_bytes(payload)
    (folders["memory"] / "tasks").write_bytes(b"21\n22\n")
    raw = tmp_path / "raw/cgroup"
    raw.mkdir(parents=True)
    collector = Cgroup(Context(str(raw), cgroups={name: str(folder) for name, folder in folders.items()}))
    assert collector.probe().available
    collector.start()
    collector.sample(10**9)
    status = collector.stop()
    assert any("cgroup v1: buffered writes are not charged" in note for note in status.notes)
    tables = cgroup.parse(tmp_path / "raw", FACTS).tables
    assert tables["cgroup"].num_rows == 1
    assert tables["cgroup_io"]["read_bytes"].to_pylist() == [15707672576]
    assert members(tmp_path / "raw") == {21, 22}


def test_no_cgroup_is_a_reason(tmp_path: Path) -> None:
    collector = Cgroup(Context(str(tmp_path)))
    probe = collector.probe()
    assert (probe.available, probe.reason) == (False, "the run has no cgroup of its own")
    assert probe.remedy
    assert collector.stop().records == 0
