"""tegrastats: every line of every board and release gives what it says, and nothing that it does not say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.collectors.power.tegrastats import Clock, Reading, read_line, read_lines

LINES = (Path(__file__).parents[1] / "data/tegrastats.txt").read_text().splitlines()
BOARDS = {LINES[number - 1][2:]: line for number, line in enumerate(LINES) if number and not line.startswith("#")}


def board(name: str) -> Reading:
    (line,) = [line for title, line in BOARDS.items() if name in title]
    reading = read_line(line)
    assert reading is not None
    return reading


def test_every_real_line_is_read_and_comments_are_not() -> None:
    assert len(BOARDS) == 6
    assert all(read_line(line) for line in BOARDS.values())
    assert not any(read_line(line) for line in LINES if line.startswith("#"))


@pytest.mark.parametrize(
    ("name", "cpus", "temperatures", "rails"),
    [
        ("TX2", 6, 8, ["VDD_IN", "VDD_CPU", "VDD_GPU", "VDD_SOC", "VDD_WIFI", "VDD_DDR"]),
        ("Xavier NX, JetPack 4, ordinary user", 6, 6, []),
        ("Xavier NX, JetPack 4, root", 6, 6, ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]),
        ("Xavier NX, JetPack 5", 6, 5, ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]),
        ("Nano", 4, 5, ["POM_5V_IN", "POM_5V_CPU", "POM_5V_GPU"]),
        ("Orin NX", 8, 6, ["VDD_IN"]),
    ],
)
def test_each_board_has_its_cores_sensors_and_rails(name: str, cpus: int, temperatures: int, rails: list[str]) -> None:
    reading = board(name)
    assert sum(domain.startswith("cpu") for domain in reading.clocks) == cpus
    assert len(reading.temperatures) == temperatures
    assert list(reading.power) == rails


def test_power_is_watts_now_and_on_average_with_or_without_a_unit() -> None:
    assert board("TX2").power["VDD_DDR"] == (1.248, 1.375)
    assert board("Xavier NX, JetPack 5").power["VDD_IN"] == (5.079, 5.079)


def test_memory_is_bytes_and_swap_may_be_absent() -> None:
    assert board("TX2").memory == {"RAM": (2135 << 20, 7855 << 20)}
    assert board("Xavier NX, JetPack 5").memory["SWAP"] == (479 << 20, 3427 << 20)


def test_a_core_that_is_off_has_neither_clock_nor_load() -> None:
    clocks = board("Orin NX").clocks
    assert clocks["cpu0"] == Clock(1420e6, 0.12)
    assert clocks["cpu2"] == Clock(None, None)
    assert clocks["cpu7"] == Clock(1420e6, 0.01)


def test_cores_may_share_one_clock() -> None:
    reading = read_line("RAM 1/2MB CPU [5%,off,7%]@1428 EMC 0%@408")
    assert reading is not None
    assert reading.clocks == {"cpu0": Clock(1428e6, 0.05), "cpu1": Clock(None, None), "cpu2": Clock(1428e6, 0.07)}


@pytest.mark.parametrize(
    ("text", "gpu"),
    [
        ("GR3D_FREQ 0%", Clock(None, 0.0)),
        ("GR3D_FREQ 7%@114", Clock(114e6, 0.07)),
        ("GR3D_FREQ 99%@[510]", Clock(510e6, 0.99)),
        ("GR3D_FREQ 50%@[305,306]", Clock(305e6, 0.5)),
    ],
)
def test_the_gpu_is_read_in_all_its_spellings(text: str, gpu: Clock) -> None:
    reading = read_line(f"RAM 1/2MB {text} APE 150")
    assert reading is not None
    assert reading.clocks["gpu"] == gpu
    assert reading.clocks["ape"] == Clock(150e6, None)
    assert reading.clocks.get("gpu.1") == (Clock(306e6, None) if "," in text else None)


def test_the_memory_controller_that_an_ordinary_user_may_not_read_is_not_idle() -> None:
    assert board("ordinary user").clocks["emc"] == Clock(None, None)
    assert board("Xavier NX, JetPack 4, root").clocks["emc"] == Clock(1600e6, 0.01)


def test_an_engine_may_have_a_clock_without_a_load() -> None:
    assert board("Xavier NX, JetPack 5").clocks["vic"] == Clock(601e6, None)
    assert board("Nano").clocks["nvenc"] == Clock(115e6, None)


def test_temperatures_have_fractions_and_a_sensor_that_is_off_has_none() -> None:
    assert board("Orin NX").temperatures["cpu"] == 52.5
    reading = read_line("RAM 1/2MB cv0@-256C cv1@-5.5C Tdiode@28.25C")
    assert reading is not None
    assert reading.temperatures == {"cv0": None, "cv1": -5.5, "Tdiode": 28.25}


def test_a_date_in_front_changes_nothing() -> None:
    line = BOARDS["Jetson Orin NX"]
    assert read_line("11-21-2026 12:00:00 " + line) == read_line(line)


def test_lines_bear_the_time_at_which_their_end_was_read() -> None:
    line = BOARDS["Jetson Orin NX"].encode()
    pieces = [line[:100], line[100:] + b"\n" + line[:7], line[7:] + b"\nnoise\n" + line]
    assert [time for time, _ in read_lines([10, 20, 30], pieces)] == [20, 30]


def test_every_cut_of_every_line_says_no_more_than_the_whole_line() -> None:
    for line in BOARDS.values():
        whole = read_line(line)
        assert whole is not None
        for end in range(len(line)):
            part = read_line(line[:end])
            if part is not None:
                assert set(part.temperatures) <= set(whole.temperatures)
                assert set(part.power) <= set(whole.power)


@given(st.text(max_size=300), st.integers(0, 400), st.sampled_from(list(BOARDS.values())))
def test_noise_in_a_line_never_breaks_the_reader(noise: str, at: int, line: str) -> None:
    read_line(noise)
    read_line(line[:at] + noise + line[at:])


@pytest.mark.parametrize(
    "line",
    ["RAM 1/2MB " + "CPU [" * 100_000, "RAM 1/2MB " + "a@1" * 10**6, "RAM " + "9" * 10**6 + "/2MB", "[," * 10**6],
)
def test_a_huge_line_is_cut_not_chewed(line: str) -> None:
    read_line(line)
    assert len(read_lines([1], [line.encode()])) == 0
