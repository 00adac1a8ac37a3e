"""power: every rail in watts, energy only where a counter counts it, and no rail counted twice."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Context, FrameWriter, Roots
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.power import parse
from edgeprof.collectors.power.capture import Power
from edgeprof.collectors.power.capture_sensors import discover
from tests.board_trees import plant

FACTS = RunFacts(0, None, 1)
SECOND = 1_000_000_000


def start(tmp_path: Path, roots: Roots, **options: Any) -> Power:
    (tmp_path / "power").mkdir(exist_ok=True)
    collector = Power(Context(str(tmp_path / "power"), roots, options={"tegrastats": "/nowhere", **options}))
    assert collector.probe().available
    collector.start()
    return collector


def finish(collector: Power) -> None:
    collector.last(time.monotonic_ns())
    collector.stop()


def rows(tmp_path: Path) -> list[dict[str, Any]]:
    return parse.parse(tmp_path, FACTS).tables["power"].to_pylist()


def by_rail(tmp_path: Path) -> dict[str, dict[str, Any]]:
    return {row["rail"]: row for row in rows(tmp_path)}


def test_ina3221_channels_are_volts_times_amperes(tmp_path: Path) -> None:
    finish(start(tmp_path, plant("orin-nx-jetpack5", tmp_path)))
    rails = by_rail(tmp_path)
    assert set(rails) == {"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}  # no shunt voltages, each monitor once
    assert rails["VDD_IN"]["power"] == pytest.approx(4.960 * 1.024)
    assert rails["VDD_CPU_GPU_CV"]["power"] == pytest.approx(4.960 * 0.152)
    assert {row["source"] for row in rails.values()} == {"ina3221"}
    assert {row["energy"] for row in rails.values()} == {None}


def test_the_modules_supply_is_total_and_the_rails_it_feeds_are_not(tmp_path: Path) -> None:
    for board, total in (("orin-nx-jetpack5", "VDD_IN"), ("nano-jetpack4", "POM_5V_IN")):
        found = discover(plant(board, tmp_path / board).sys).rails
        assert {rail.name for rail in found if rail.total} == {total}


def test_an_agx_orin_has_no_total_for_its_5_volt_rail_feeds_peripherals_alone(tmp_path: Path) -> None:
    found = discover(plant("agx-orin-jetpack6", tmp_path).sys).rails
    assert [rail.name for rail in found] == ["VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"]
    assert not any(rail.total for rail in found)


def test_jetpack_4_gives_milliwatts(tmp_path: Path) -> None:
    finish(start(tmp_path, plant("nano-jetpack4", tmp_path)))
    assert {(row["rail"], row["power"], row["source"]) for row in rows(tmp_path)} == {
        ("POM_5V_IN", 4.25, "iio"),
        ("POM_5V_GPU", 0.48, "iio"),
        ("POM_5V_CPU", 1.52, "iio"),
    }


def test_a_package_contains_its_cores_but_not_the_memory_and_no_zone_is_read_twice(tmp_path: Path) -> None:
    found = {rail.name: rail for rail in discover(plant("laptop-x86", tmp_path).sys).rails}
    assert set(found) == {"package-0", "package-0/core", "package-0/dram", "PPT", "Ecore000", "Esocket0"}
    assert {name for name, rail in found.items() if rail.total} == {"package-0", "Esocket0"}


def test_energy_goes_on_where_a_counter_wraps(tmp_path: Path) -> None:
    roots = plant("laptop-x86", tmp_path)
    collector = start(tmp_path, roots)
    counter = Path(roots.sys, "class/powercap/intel-rapl:0/energy_uj")
    counter.write_text("1671150\n")  # 2 J later: 0.32885 J up to the wrap, 1.67115 J after it
    finish(collector)
    first, *_, last = [row for row in rows(tmp_path) if row["rail"] == "package-0"]
    assert (first["energy"], first["power"]) == (0.0, None)
    assert last["energy"] == pytest.approx(2.0)
    elapsed = (last["time_ns"] - first["time_ns"]) / SECOND
    assert last["power"] == pytest.approx(2.0 / elapsed)


def test_hwmon_power_is_microwatts_and_a_battery_counts_only_while_it_discharges(tmp_path: Path) -> None:
    roots = plant("laptop-x86", tmp_path)
    collector = start(tmp_path, roots, battery=True)
    Path(roots.sys, "class/power_supply/BAT0/status").write_text("Charging\n")
    finish(collector)
    found = rows(tmp_path)
    assert {row["power"] for row in found if row["rail"] == "PPT"} == {9.054}
    assert [row["power"] for row in found if row["rail"] == "BAT0"] == [11.042, None]


def test_batteries_are_asked_only_on_request(tmp_path: Path) -> None:
    assert "BAT0" not in {rail.name for rail in discover(plant("laptop-x86", tmp_path).sys).rails}


def test_sensors_behind_a_bus_are_read_once_a_second_and_rapl_every_time(tmp_path: Path) -> None:
    collector = start(tmp_path, plant("laptop-x86", tmp_path))
    now = rows(tmp_path)[0]["time_ns"]
    for tenth in range(1, 21):
        collector.sample(now + tenth * SECOND // 10)
    finish(collector)
    found = rows(tmp_path)
    assert sum(row["rail"] == "package-0" for row in found) == 22
    assert sum(row["rail"] == "PPT" for row in found) == 4  # start, after 1 s, after 2 s, last


def test_a_sensor_that_stops_answering_leaves_a_gap_not_a_zero(tmp_path: Path) -> None:
    roots = plant("orin-nx-jetpack5", tmp_path)
    collector = start(tmp_path, roots)
    Path(roots.sys, "devices/i2c1/1-0040/hwmon/hwmon3/curr1_input").write_text("garbage\n")
    finish(collector)
    assert [row["power"] for row in rows(tmp_path) if row["rail"] == "VDD_IN"] == [pytest.approx(5.07904), None]


def test_a_virtual_machine_says_that_it_has_no_sensor(tmp_path: Path) -> None:
    probe = Power(
        Context(str(tmp_path), plant("virtual-machine", tmp_path), options={"tegrastats": "/nowhere"})
    ).probe()
    assert not probe.available
    assert probe.reason.startswith("no power sensor here")


@pytest.mark.parametrize(
    ("counts", "limit", "steps", "sums"),
    [
        ([10, 30, 35], None, [np.nan, 20, 5], [0, 20, 25]),
        ([90, 5, 10], 100, [np.nan, 15, 5], [0, 15, 20]),
        ([90, 5, 10], None, [np.nan, np.nan, 5], [0, np.nan, np.nan]),
        ([10, np.nan, 30], None, [np.nan, np.nan, 20], [0, np.nan, 20]),
        ([np.nan, 5, 6], None, [np.nan, np.nan, 1], [np.nan, 0, 1]),
        ([], None, [], []),
    ],
)
def test_a_counter_is_summed_over_wraps_and_gaps_and_ends_at_a_restart(
    counts: list[float], limit: int | None, steps: list[float], sums: list[float]
) -> None:
    found = parse.energy_of_counter(np.array(counts, float), limit)
    np.testing.assert_array_equal(found[0], steps)
    np.testing.assert_array_equal(found[1], sums)


def test_power_over_a_gap_is_the_mean_over_the_whole_gap(tmp_path: Path) -> None:
    rail = {"rail": "r", "source": "rapl", "quantity": "uJ", "frames": ["f"], "total": False, "limit": None}
    write(tmp_path, json.dumps([rail]).encode(), [(0, b"0"), (SECOND, b"?"), (2 * SECOND, b"6000000")])
    assert [row["power"] for row in rows(tmp_path)] == [None, None, 3.0]


def write(tmp_path: Path, facts: bytes, samples: list[tuple[int, bytes]]) -> None:
    folder = tmp_path / "power"
    folder.mkdir(exist_ok=True)
    (folder / "rails.json").write_bytes(facts)
    (folder / "power.frames").unlink(missing_ok=True)
    writer = FrameWriter(str(folder / "power.frames"))
    for moment, payload in samples:
        writer.frame(moment, writer.source("f"), payload)
        writer.frame(moment, writer.source("tegrastats"), payload)
    writer.close()


def test_without_its_facts_a_capture_is_an_empty_table_and_a_note(tmp_path: Path) -> None:
    write(tmp_path, b"{", [(1, b"5")])
    parsed = parse.parse(tmp_path, FACTS)
    assert parsed.tables["power"].num_rows == 0
    assert "rails.json is missing or damaged" in parsed.notes[0]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 2**63 - 1), st.binary(max_size=60)), max_size=6),
    st.sampled_from(["uW", "mW", "uJ", "mV*mA", "uW if discharging"]),
    st.one_of(st.none(), st.integers(-5, 2**70)),
)
def test_damaged_samples_never_break_the_parser(
    tmp_path: Path, samples: list[tuple[int, bytes]], quantity: str, limit: int | None
) -> None:
    frames = ["f"] * (2 if quantity in ("mV*mA", "uW if discharging") else 1)
    rail = {"rail": "r", "source": "x", "quantity": quantity, "frames": frames, "total": 1, "limit": limit}
    write(tmp_path, json.dumps([rail, 5, {"quantity": []}, {"quantity": "uW", "frames": 3}]).encode(), samples)
    for row in rows(tmp_path):
        assert row["power"] is None or np.isfinite(row["power"])
        assert row["total"] is False
