"""The manifest: whole or not there, readable everywhere, and true about the cost."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.profiler.agent import manifest
from edgeprof.profiler.agent.launch import Exit
from edgeprof.profiler.agent.manifest import AgentUsage, build, plain, write_json, wrong_factor
from edgeprof.profiler.agent.spec import RunSpec
from edgeprof.profiler.run import wrong_part

FACTS: dict[str, Any] = {"virtualization": "bare", "board": "Jetson Orin", "mounts": {}, "devices": {}}
CLOCKS = [
    {"at": at, "monotonic_ns": ns, "boottime_ns": ns, "realtime_ns": ns + 1795262390_000000000, "error_ns": 40}
    for at, ns in (("start", 1_000_000_000), ("end", 9_000_000_000))
]
USAGE = AgentUsage(
    cpu_seconds=0.2, setup_cpu_seconds=0.15, run_cpu_seconds=0.04, wall_added_seconds=0.3, sampling_stretch=2
)


def collector(name: str = "procfs", **other: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"name": name, "available": True, "reason": "", "remedy": "", "mode": "full", "records": 5}
    return {**base, "bytes": 1000, "lost": 0, "cpu_seconds": 0.01, "notes": [], "details": {}, **other}


def made(
    ending: Exit | None = Exit(0, None, {}), collectors: list[dict[str, Any]] | None = None, **spec: Any
) -> dict[str, Any]:
    """A manifest of a run of two seconds."""
    return build(
        run_id="20261121T120000Z-train-abc123",
        version="0.1.0",
        spec=RunSpec(command=["python", "train.py"], **spec),
        pid=77,
        start_ns=2_000_000_000,
        end_ns=4_000_000_000 if ending else None,
        ending=ending,
        facts=FACTS,
        clocks=CLOCKS,
        collectors=[collector()] if collectors is None else collectors,
        usage=USAGE,
        cgroup={"mode": "v2", "paths": {}, "reason": ""},
        helpers=[90],
        notes=[],
    )


def test_a_finished_run() -> None:
    content = made(ending=Exit(None, 9, {"utime": 1.0}))
    run = content["run"]
    assert (run["status"], run["exit_code"], run["signal"], run["wall_time"]) == ("finished", None, 9, 2.0)
    assert (run["name"], run["started"], run["ended"]) == ("python", "2026-11-21T11:59:51Z", "2026-11-21T11:59:59Z")
    assert content["processes"]["agent"] == os.getpid()
    assert wrong_part(json.loads(json.dumps(content))) is None


def test_a_run_that_has_just_begun() -> None:
    content = made(ending=None)
    run = content["run"]
    assert (run["status"], run["ended"], run["end_ns"], run["wall_time"]) == ("interrupted", None, None, None)
    assert content["overhead"]["cpu_share"] is None
    assert content["overhead"]["budget"]["kept"] is False
    assert wrong_part(json.loads(json.dumps(content))) is None


def test_the_cost_counts_helper_tools_and_everything_written() -> None:
    used = {"helper_cpu_seconds": 0.06, "helper_setup_cpu_seconds": 0.02, "helper_pid": 91}
    helper = collector("perf_stat", bytes=500, details=used)
    absent = collector("block", available=False, bytes=None, lost=None, mode=None)
    content = made(collectors=[collector(), helper, absent], budget_cpu=0.06, budget_bytes=1000)
    overhead = content["overhead"]
    assert overhead["cpu_seconds"] == pytest.approx(0.26)
    assert overhead["cpu_share"] == pytest.approx((0.04 + 0.06 - 0.02) / 2.0)  # what was used before the exec is told
    assert overhead["setup_cpu_seconds"] == pytest.approx(0.15 + 0.02)  # apart
    assert (overhead["bytes_written"], overhead["bytes_per_second"], overhead["lost_records"]) == (1500, 750, 0)
    assert overhead["budget"]["kept"] is True
    assert overhead["budget"]["sampled"] == []
    assert content["processes"]["helpers"] == [90, 91]


@pytest.mark.parametrize(("cpu", "rate"), [(0.04, 1000), (0.06, 700)])
def test_a_budget_that_was_exceeded_is_not_kept(cpu: float, rate: float) -> None:
    helper = collector("perf_stat", bytes=500, details={"helper_cpu_seconds": 0.06})
    content = made(collectors=[collector(), helper], budget_cpu=cpu, budget_bytes=rate)
    assert content["overhead"]["budget"]["kept"] is False


def test_losses_that_are_not_known_are_not_zero() -> None:
    content = made(collectors=[collector(lost=3), collector("block", lost=None, mode="sampled")])
    assert content["overhead"]["lost_records"] is None
    assert content["overhead"]["budget"]["sampled"] == ["block"]


def test_factors_are_found_and_stated_ones_win() -> None:
    factors = made(factors={"storage.format": "folder", "board": "mine", "batch_size": 8, "unit.kind": "gpu"})[
        "factors"
    ]
    assert factors["storage"]["format"] == "folder"
    assert (factors["board"], factors["isolation"], factors["batch_size"]) == ("mine", "bare", 8)
    assert factors["unit"] == {"kind": "gpu", "threads": None, "precision": None, "power_mode": None}
    assert factors["framework"] == {"name": None, "version": None}


@pytest.mark.parametrize("name", ["framework", "storage", "unit", "model.size", "board.x", "storage.device.name"])
def test_factors_that_would_break_the_others_are_refused(name: str) -> None:
    assert name.split(".", maxsplit=1)[0] in wrong_factor(name)


@pytest.mark.parametrize("name", ["framework.name", "storage.format", "model", "batch_size", "data.name"])
def test_other_factors_may_be_stated(name: str) -> None:
    assert wrong_factor(name) == ""


# -- writing -------------------------------------------------------------------------------------------------


def test_it_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(str(tmp_path), "manifest.json", {"a": 1})
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"a": 1}
    real = os.fsync

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(str(tmp_path), "manifest.json", {"a": 2})
    monkeypatch.setattr(os, "fsync", real)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_link_in_its_way_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    (tmp_path / ".manifest.json.tmp").symlink_to(precious)
    (tmp_path / "manifest.json").symlink_to(precious)
    write_json(str(tmp_path), "manifest.json", {"a": 1})
    assert precious.read_text() == "as it was"
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"a": 1}


def test_room_is_kept_until_it_is_needed(tmp_path: Path) -> None:
    manifest.reserve_space(str(tmp_path))
    (reserve,) = tmp_path.iterdir()
    assert reserve.stat().st_blocks * 512 >= 1 << 20
    manifest.free_reserve(str(tmp_path))
    manifest.free_reserve(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_utf_8_and_odd_values_can_be_written(tmp_path: Path) -> None:
    content = {
        "path": os.fsdecode(b"/data/\xff\xfe"),
        "lone": "\ud800",
        "umlaut": "ä",
        "set": {3},
        "tuple": (1, 2.5),
        "nan": float("nan"),
        "path object": Path("/x"),
        7: True,
    }
    write_json(str(tmp_path), "manifest.json", content)
    assert json.loads((tmp_path / "manifest.json").read_text()) == {
        "path": "/data/\\xff\\xfe",
        "lone": "\\ud800",
        "umlaut": "ä",
        "set": [3],
        "tuple": [1, 2.5],
        "nan": None,
        "path object": "/x",
        "7": True,
    }


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_anything_becomes_strict_json_in_utf_8(value: Any) -> None:
    json.dumps(plain(value), allow_nan=False, ensure_ascii=False).encode()
