"""thermal: temperatures that are real, and throttling only where a processor is slowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter, Roots, Status
from edgeprof.collectors.parsing import Parsed, RunFacts
from edgeprof.collectors.thermal import parse
from edgeprof.collectors.thermal.capture import Thermal
from tests.board_trees import BOARDS, plant

FACTS = RunFacts(0, None, 1)


def capture(tmp_path: Path, roots: Roots, between: dict[str, str] | None = None) -> tuple[Parsed, Status]:
    (tmp_path / "thermal").mkdir(exist_ok=True)
    collector = Thermal(Context(str(tmp_path / "thermal"), roots))
    assert collector.probe().available
    collector.start()
    for path, text in (between or {}).items():
        Path(roots.sys, path).write_text(text + "\n")
    collector.last(10**17)
    status = collector.stop()
    return parse.parse(tmp_path, FACTS), status


def column(parsed: Parsed, name: str) -> dict[str, set[Any]]:
    found: dict[str, set[Any]] = {}
    for row in parsed.tables["thermal"].to_pylist():
        found.setdefault(row["zone"], set()).add(row[name])
    return found


def test_zones_are_degrees_and_one_that_is_off_is_absent_or_null(tmp_path: Path) -> None:
    parsed, _ = capture(tmp_path, plant("orin-nx-jetpack5", tmp_path))
    found = column(parsed, "temperature")
    assert found["CPU-therm"] == {52.5}
    assert found["GPU-therm"] == {51.0}
    assert "CV0-therm" not in found  # the kernel answered with an error
    assert found["CV1-therm"] == {None}  # -256 °C


def test_fans_and_warnings_are_no_throttling(tmp_path: Path) -> None:
    parsed, status = capture(tmp_path, plant("orin-nx-jetpack5", tmp_path))
    found = {zone: states for zone, states in column(parsed, "throttling").items() if states != {None}}
    assert found == {"cpu-throttle-alert": {1}, "devfreq-17000000.gpu": {0}}
    assert "thermal: cooling devices that slow no processor are left out: hot-surface-alert, pwm-fan" in parsed.notes
    assert {device["type"] for device in status.details["cooling_devices"]} >= {"pwm-fan", "hot-surface-alert"}


def test_processors_of_one_type_are_told_apart_and_an_unused_powerclamp_is_idle(tmp_path: Path) -> None:
    parsed, _ = capture(tmp_path, plant("laptop-x86", tmp_path))
    found = {zone: states for zone, states in column(parsed, "throttling").items() if states != {None}}
    assert found == {"Processor 0": {0}, "Processor 1": {2}, "intel_powerclamp": {0}}


@pytest.mark.parametrize(
    ("kind", "slows"),
    [
        ("thermal-cpufreq-0", True),
        ("cpufreq-cpu4", True),
        ("cpuidle-2", True),
        ("thermal-devfreq-0", True),
        ("gpu-throttle-alert", True),
        ("cpu-balanced", True),
        ("Processor", True),
        ("pwm-fan", False),
        ("gpio-fan", False),
        ("cpu-fan", False),
        ("LCD", False),
        ("iwlwifi_1", False),
        ("TCC Offset", False),
        ("hot-surface-alert", False),
    ],
)
def test_the_type_of_a_cooling_device_says_whether_it_slows_a_processor(kind: str, slows: bool) -> None:
    assert (bool(parse.SLOWS.search(kind)) and not parse.FANS.search(kind)) is slows


def test_the_raspberry_pis_flags_are_throttling_of_three_kinds(tmp_path: Path) -> None:
    parsed, _ = capture(tmp_path, plant("raspberry-pi", tmp_path))
    found = {zone: states for zone, states in column(parsed, "throttling").items() if states != {None}}
    assert found == {"frequency capped": {1}, "throttled": {0}, "soft temperature limit": {1}}
    assert not any("voltage" in note for note in parsed.notes)  # its flag was set neither now nor since


def test_what_the_raspberry_pi_only_remembers_from_this_run_is_said(tmp_path: Path) -> None:
    path = "devices/platform/soc/soc:firmware/get_throttled"
    roots = plant("raspberry-pi", tmp_path)
    Path(roots.sys, path).write_text("0\n")
    parsed, _ = capture(tmp_path, roots, {path: "0x50000"})
    notes = " ".join(parsed.notes)
    assert "the supply voltage was too low" in notes
    assert "shorter than a second during the run, so not in the table: throttled" in notes


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"0x50005\n", 0x50005),
        (b"throttled=0x4", 4),
        (b"e000a", 0xE000A),
        (b"", None),
        (b"0xfffffffff", None),
    ],
)
def test_flags_are_hexadecimal_in_several_spellings(text: bytes, value: int | None) -> None:
    assert parse.flags(text) == value


def test_without_zones_tegrastats_gives_the_temperatures(tmp_path: Path) -> None:
    (tmp_path / "power").mkdir()
    line = (BOARDS.parent / "tegrastats.txt").read_text().splitlines()[-1].encode() + b"\n"
    writer = FrameWriter(str(tmp_path / "power/power.frames"))
    writer.frame(5, writer.source("tegrastats"), line)
    writer.close()
    assert column(parse.parse(tmp_path, FACTS), "temperature")["tj"] == {53.5}


def test_a_virtual_machine_says_that_it_has_no_zones(tmp_path: Path) -> None:
    probe = Thermal(Context(str(tmp_path), plant("virtual-machine", tmp_path))).probe()
    assert not probe.available
    assert "no thermal zone" in probe.reason


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.binary(max_size=40), st.text(max_size=20))
def test_damaged_samples_never_break_the_parser(tmp_path: Path, payload: bytes, name: str) -> None:
    path = tmp_path / "thermal/thermal.frames"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    writer = FrameWriter(str(path))
    for source in ("zone:0:x", "device:0:cpu", "raspberrypi", "zone", name):
        writer.frame(7, writer.source(source), payload)
    writer.close()
    for row in parse.parse(tmp_path, FACTS).tables["thermal"].to_pylist():
        assert row["temperature"] is None or -100 <= row["temperature"] <= 250
