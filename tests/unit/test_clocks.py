"""clocks: hertz and load by domain, and the power mode among the facts of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter, Status
from edgeprof.collectors.clocks import parse
from edgeprof.collectors.clocks.capture import Clocks, power_mode
from edgeprof.collectors.parsing import RunFacts
from tests.board_trees import BOARDS, plant

FACTS = RunFacts(0, None, 1)
NO_TOOLS = {"nvpmodel": "/nowhere", "jetson_clocks": "/nowhere"}


def capture(tmp_path: Path, board: str, **options: Any) -> tuple[dict[str, tuple[Any, Any]], Status]:
    (tmp_path / "clocks").mkdir()
    collector = Clocks(Context(str(tmp_path / "clocks"), plant(board, tmp_path), options={**NO_TOOLS, **options}))
    assert collector.probe().available
    collector.start()
    collector.last(10**17)
    status = collector.stop()
    rows = parse.parse(tmp_path, FACTS).tables["clocks"].to_pylist()
    assert len(rows) == 2 * len({row["domain"] for row in rows})  # at the start and at the end
    return {row["domain"]: (row["frequency"], row["load"]) for row in rows}, status


def test_a_jetsons_processors_gpu_and_memory_have_hertz_and_the_gpu_its_load(tmp_path: Path) -> None:
    found, status = capture(tmp_path, "orin-nx-jetpack5")
    assert found == {
        "cpu0": (1420.8e6, None),
        "gpu": (306e6, 0.437),
        "emc": (2133e6, None),
    }  # cpu4's cores are off: the kernel gives no clock, so there is no row
    assert status.details["cpu0"] == {
        "governor": "schedutil",
        "cpus": "0 1 2 3",
        "min_hz": 729_600_000,
        "max_hz": 1_984_000_000,
    }
    assert status.details["gpu"]["max_hz"] == 918_000_000


def test_a_nanos_gpu_is_found_under_its_own_names(tmp_path: Path) -> None:
    found, _ = capture(tmp_path, "nano-jetpack4")
    assert found == {"cpu0": (1479e6, None), "gpu": (921.6e6, 0.99)}


def test_cpufreq_is_found_below_each_cpu_where_there_is_no_policy_folder(tmp_path: Path) -> None:
    folder = tmp_path / "sys/devices/system/cpu/cpu3/cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_cur_freq").write_text("1000000\n")
    from edgeprof.collectors.base import Roots

    collector = Clocks(Context(str(tmp_path), Roots(sys=str(tmp_path / "sys")), options=NO_TOOLS))
    collector.start()
    (tmp_path / "clocks").mkdir()
    collector.stop()
    (tmp_path / "clocks.frames").rename(tmp_path / "clocks/clocks.frames")
    rows = parse.parse(tmp_path, FACTS).tables["clocks"].to_pylist()
    assert {(row["domain"], row["frequency"]) for row in rows} == {("cpu3", 1e9)}


def script(tmp_path: Path, name: str, text: str) -> str:
    path = tmp_path / name
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def test_the_power_mode_and_the_fixed_clocks_are_among_the_facts(tmp_path: Path) -> None:
    _, status = capture(
        tmp_path,
        "orin-nx-jetpack5",
        nvpmodel=script(tmp_path, "nvpmodel", "test $1 = -q && printf 'NV Power Mode: MAXN\\n0\\n'\n"),
        jetson_clocks=script(tmp_path, "jetson_clocks", "test $1 = --show && echo 'SOC family:tegra234'\n"),
    )
    assert status.details["nvpmodel"] == {"name": "MAXN", "number": 0}
    assert status.details["jetson_clocks"] == "SOC family:tegra234\n"


@pytest.mark.parametrize(
    ("text", "name", "number"),
    [
        ("NV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE", 2),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", "MAXN", 0),
        ("NV Fan Mode:quiet\nNV Power Mode: MAXN SUPER\n2\n", "MAXN SUPER", 2),
        ("NV Power Mode: 15W", "15W", None),
        ("NVPM ERROR: no power mode\n", None, None),
    ],
)
def test_nvpmodel_is_read_in_its_spellings(text: str, name: str | None, number: int | None) -> None:
    mode = power_mode(text)
    assert (mode["name"], mode["number"]) == (name, number)


def test_a_tool_that_fails_is_no_power_mode(tmp_path: Path) -> None:
    _, status = capture(tmp_path, "orin-nx-jetpack5", nvpmodel=script(tmp_path, "nvpmodel", "exit 1\n"))
    assert "nvpmodel" not in status.details


def test_without_cpufreq_tegrastats_gives_the_clocks(tmp_path: Path) -> None:
    (tmp_path / "power").mkdir()
    line = (BOARDS.parent / "tegrastats.txt").read_text().splitlines()[-1].encode() + b"\n"
    writer = FrameWriter(str(tmp_path / "power/power.frames"))
    writer.frame(5, writer.source("tegrastats"), line)
    writer.close()
    rows = parse.parse(tmp_path, FACTS).tables["clocks"].to_pylist()
    found = {row["domain"]: (row["frequency"], row["load"]) for row in rows}
    assert found["gpu"] == (306e6, 0.0)
    assert found["emc"] == (2133e6, 0.24)
    assert found["cpu2"] == (None, None)


def test_a_virtual_machine_says_that_it_has_no_clocks(tmp_path: Path) -> None:
    probe = Clocks(Context(str(tmp_path), plant("virtual-machine", tmp_path))).probe()
    assert not probe.available
    assert "neither cpufreq nor devfreq" in probe.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=40), st.text(max_size=20))
def test_damaged_samples_never_break_the_parser(tmp_path: Path, payload: bytes, name: str) -> None:
    path = tmp_path / "clocks/clocks.frames"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    writer = FrameWriter(str(path))
    for source in ("kHz:cpu0", "permille:gpu", "Hz:", "kHz", name):
        writer.frame(7, writer.source(source), payload)
    writer.close()
    for row in parse.parse(tmp_path, FACTS).tables["clocks"].to_pylist():
        assert row["frequency"] is None or row["frequency"] >= 0
