"""Runs of several workloads at once: figures by role, and who delayed whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from edgeprof.collectors import schema
from edgeprof.collectors.base import Context, FrameWriter
from edgeprof.collectors.cgroup.capture import Cgroup
from edgeprof.collectors.cgroup.parse import parse
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.procfs.readings import role_of
from edgeprof.profiler.analysis.data import RunData
from edgeprof.profiler.analysis.delays import ITSELF, OTHERS, account, delays
from edgeprof.profiler.analysis.roles import figures

MS = 10**6
CAMERA, TRAINER, LAUNCHER = 10, 20, 5
SECOND = 10**9


def rows(name: str, columns: list[str], content: list[tuple[Any, ...]]) -> pa.Table:
    return schema.from_rows(name, columns, content)


def tables() -> dict[str, pa.Table]:
    """One second: the camera answers ten requests, two of them late, while the trainer computes and writes."""
    process = [
        (0, CAMERA, "camera", 0.0, 0.0, 1000),
        (0, TRAINER, "trainer", 0.0, 0.0, 2000),
        (0, LAUNCHER, "scenario", 0.0, 0.0, 10),
        (SECOND, CAMERA, "camera", 0.1, 0.1, 3000),
        (SECOND, TRAINER, "trainer", 0.9, 0.0, 5000),
    ]
    steps = []
    for number in range(10):
        start = number * 100 * MS
        steps.append((number, start, start + (80 if number in (3, 7) else 20) * MS, CAMERA, 1.0))
    # what the camera waits grows only while it is late: from 300 to 380 ms and from 700 to 780 ms
    pressure = {0: 0.0, 300: 0.0, 380: 0.05, 700: 0.05, 780: 0.11, 1000: 0.11}
    roles = [(at * MS, "camera", 0.2 * at / 1000, waited, waited / 2) for at, waited in pressure.items()]
    roles += [(at * MS, "trainer", 0.9 * at / 1000, 0.0, 0.0) for at in pressure]
    requests = [
        (310 * MS, 320 * MS, "sda", 4096, "read", CAMERA, "run"),
        (305 * MS, 335 * MS, "sda", 65536, "write", TRAINER, "run"),
        (300 * MS, 380 * MS, "sdb", 65536, "write", TRAINER, "run"),  # another disk: not in the camera's way
        (710 * MS, 720 * MS, "sda", 65536, "write", 99, "kernel"),
        (500 * MS, 600 * MS, "sda", 65536, "write", TRAINER, "run"),  # while the camera was not late
    ]
    return {
        "process": rows("process", ["time_ns", "pid", "role", "utime", "stime", "rss"], process),
        "steps": rows("steps", ["step", "start_ns", "end_ns", "pid", "samples"], steps),
        "marks": rows("marks", ["time_ns", "name", "pid", "value"], [(0, "deadline", CAMERA, 0.05)]),
        "roles": rows("roles", ["time_ns", "role", "cpu_usage", "psi_cpu_some_total", "psi_io_some_total"], roles),
        "block_io": rows("block_io", ["queued_ns", "completed_ns", "device", "bytes", "op", "pid", "owner"], requests),
    }


def data(**changed: pa.Table | None) -> RunData:
    found = {**tables(), **changed}
    return RunData({"run": {"start_ns": 0, "end_ns": SECOND}}, found.get)


def test_figures_are_those_of_each_role_alone() -> None:
    camera, trainer = figures(data())
    assert (camera.role, camera.processes, camera.steps, camera.misses) == ("camera", 1, 10, 2)
    assert camera.miss_share == pytest.approx(0.2)
    assert (camera.latency_p50, camera.latency_max) == pytest.approx((0.02, 0.08))
    assert camera.tail_ratio == pytest.approx((camera.latency_p99 or 0) / 0.02)
    assert camera.samples_per_second == pytest.approx(10 / 0.92)
    assert camera.cpu_time == pytest.approx(0.2)
    assert (camera.wait_cpu, camera.wait_io) == pytest.approx((0.11, 0.055))
    assert camera.wait_memory is None
    assert (camera.rss_peak, camera.block_read_bytes, camera.block_write_bytes) == (3000, 4096, 0)
    assert (trainer.role, trainer.steps, trainer.deadline, trainer.misses) == ("trainer", 0, None, None)
    assert trainer.block_write_bytes == 3 * 65536


def test_requests_that_were_not_answered_are_missed() -> None:
    marks = [(0, "deadline", CAMERA, 0.05), (SECOND, "unanswered", CAMERA, 2.0)]
    changed = data(marks=rows("marks", ["time_ns", "name", "pid", "value"], marks))
    camera, _ = figures(changed)
    assert (camera.steps, camera.misses, camera.miss_share) == (10, 4, pytest.approx(4 / 12))
    told = account(changed)
    assert told is not None
    assert told["sentences"][0].startswith("camera missed 4 of 12 deadlines")


def test_waiting_while_late_is_laid_upon_those_who_used_the_resource_then() -> None:
    found = {(item.victim, item.resource, item.culprit): item for item in delays(data())}
    assert {key[0] for key in found} == {"camera"}
    assert found["camera", "cpu", "trainer"].seconds == pytest.approx(0.11)
    assert found["camera", "cpu", "trainer"].share == pytest.approx(1)
    # in flight on the camera's disk while it was late: its own 10 ms, the trainer's 30 ms, the kernel's 10 ms
    shares = {who: found["camera", "storage", who].share for who in (ITSELF, "trainer", OTHERS)}
    assert shares == pytest.approx({ITSELF: 0.2, "trainer": 0.6, OTHERS: 0.2})
    assert sum(item.seconds for item in found.values() if item.resource == "storage") == pytest.approx(0.055)


def test_sentences_name_who_was_late_and_behind_whom() -> None:
    told = account(data())
    assert told is not None
    (sentence,) = told["sentences"]
    assert sentence.startswith("camera missed 2 of 10 deadlines of 50 ms; while late it waited 0.11 s for a processor")
    assert "trainer 100%" in sentence
    assert "trainer 60%, itself 20%, others 20%" in sentence


def test_what_was_not_captured_is_null() -> None:
    camera, _ = figures(data(roles=None, block_io=None, marks=None))
    assert (camera.wait_cpu, camera.wait_io, camera.deadline, camera.misses) == (None, None, None, None)
    assert (camera.block_read_bytes, camera.block_write_bytes) == (None, None)
    assert camera.cpu_time == pytest.approx(0.2), "the processes' account stands in for the cgroup's"
    assert delays(data(roles=None)) == []
    assert account(data(process=None)) is None


@pytest.mark.parametrize(
    ("text", "role"),
    [
        (b"0::/user/edgeprof-x/role-camera\n", "camera"),
        (b"5:memory:/edgeprof-x/role-map/inner\n0::/\n", "map"),
        (b"0::/edgeprof-x\n", None),
        (b"", None),
    ],
)
def test_a_process_has_the_role_of_its_cgroup(text: bytes, role: str | None) -> None:
    assert role_of(text) == role


def test_the_collector_finds_cgroups_of_roles_that_come_later(tmp_path: Path) -> None:
    unified, raw = tmp_path / "unified", tmp_path / "raw" / "cgroup"
    raw.mkdir(parents=True)
    unified.mkdir()
    (unified / "cpu.stat").write_text("usage_usec 5000000\n")
    collector = Cgroup(Context(str(raw), cgroups={"unified": str(unified)}, options={"roles": True}))
    collector.start()
    collector.sample(1 * SECOND)
    for number, name in enumerate(("role-camera", "role-map", "other")):
        (unified / name).mkdir()
        (unified / name / "cpu.stat").write_text(f"usage_usec {number}000000\n")
        pressure = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={number}500000\n"
        (unified / name / "cpu.pressure").write_text(pressure)
    collector.sample(2 * SECOND)
    collector.last(3 * SECOND)
    assert collector.stop().lost == 0
    table = parse(tmp_path / "raw", RunFacts(0, 4 * SECOND, 1, frozenset())).tables["roles"]
    found = table.select(["time_ns", "role", "cpu_usage", "psi_cpu_some_total"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (2 * SECOND, "camera", 0.0, 0.5),
        (2 * SECOND, "map", 1.0, 1.5),
        (3 * SECOND, "camera", 0.0, 0.5),
        (3 * SECOND, "map", 1.0, 1.5),
    ]


def test_a_run_without_roles_has_no_table_of_them(tmp_path: Path) -> None:
    (tmp_path / "cgroup").mkdir()
    writer = FrameWriter(str(tmp_path / "cgroup" / "samples.frames"))
    writer.frame(SECOND, writer.source("unified/cpu.stat"), b"usage_usec 5\n")
    writer.close()
    assert "roles" not in parse(tmp_path, RunFacts(0, 4 * SECOND, 1, frozenset())).tables
