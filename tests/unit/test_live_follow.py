"""Following a run: rates and levels from what has been written so far, and nothing from what has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeprof.profiler.live.follow import Follower
from tests.live_run import MB, LiveRun, partial


def latest(follower: Follower) -> dict[str, float | None]:
    return {name: history.latest for name, history in follower.histories().items()}


def test_rates_come_from_the_growth_of_counters_and_levels_from_the_last_sample(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    for second in range(4):
        run.cgroup_v2(float(second))
        follower.look()
    assert follower.info["name"] == "demo"
    assert follower.seconds == 3.0
    assert follower.memory_limit == 512 * MB
    assert latest(follower) == pytest.approx(
        {
            "cpu": 1.5,
            "memory": 103 * MB,
            "read": 3 * MB,  # the loop device's bytes are those of the device below
            "write": 2 * MB,
            "io_pressure": 0.25,
            "memory_pressure": 0.0,
        }
    )
    assert list(follower.histories()["cpu"].times) == [1.0, 2.0, 3.0]


def test_what_was_not_captured_is_left_out_and_not_zero(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    follower.look()
    assert latest(follower) == {}
    assert follower.seconds is None
    run.cgroup_v2(0.0)
    follower.look()
    assert latest(follower) == {"memory": 100 * MB}  # one sample of a counter is no rate


def test_a_file_that_is_followed_byte_by_byte_tells_the_same_as_a_whole_one(tmp_path: Path) -> None:
    whole = LiveRun(tmp_path / "whole")
    for second in range(3):
        whole.cgroup_v2(float(second))
        whole.process(float(second), 42, second * MB, cpu=second * 0.5)
    grown = LiveRun(tmp_path / "grown")
    follower = Follower(grown.path)
    for name in ("cgroup", "procfs"):
        data = (whole.path / "raw" / name / "samples.frames").read_bytes()
        (grown.path / "raw" / name).mkdir()
        with (grown.path / "raw" / name / "samples.frames").open("ab", buffering=0) as file:
            for at in range(0, len(data), 37):
                file.write(data[at : at + 37])
                follower.look()
                assert follower.problem is None
    at_once = Follower(whole.path)
    at_once.look()
    assert latest(follower) == latest(at_once)
    assert latest(at_once)["cpu"] == pytest.approx(1.5)


def test_a_half_written_frame_that_the_agent_cuts_off_again_is_no_damage(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.cgroup_v2(0.0)
    file = run.path / "raw" / "cgroup" / "samples.frames"
    size = file.stat().st_size
    with file.open("ab") as end:
        end.write(b"\x01\x02\x03")
    follower.look()
    with file.open("r+b") as end:
        end.truncate(size)
    run.cgroup_v2(1.0)
    follower.look()
    assert follower.problem is None
    assert latest(follower)["cpu"] == pytest.approx(1.5)


def test_damage_is_told_and_what_came_before_is_kept(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.cgroup_v2(0.0)
    run.cgroup_v2(1.0)
    with (run.path / "raw" / "cgroup" / "samples.frames").open("ab") as file:
        file.write(b"\xff" * 64)
    follower.look()
    follower.look()
    assert "impossible frame header" in str(follower.problem)
    assert latest(follower)["cpu"] == pytest.approx(1.5)


def test_without_a_cgroup_the_processes_are_summed(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    for second in range(4):
        run.process(float(second), 42, read=second * 2 * MB, cpu=second * 0.25)
        run.process(float(second), 43, read=second * 3 * MB, cpu=second * 0.5)
    follower.look()  # the last moment may not be whole yet
    assert latest(follower) == pytest.approx({"cpu": 0.75, "memory": 2000 * 4096, "read": 5 * MB, "write": 0.0})


def test_a_child_that_was_waited_for_counts_once(tmp_path: Path) -> None:
    """The kernel adds what an ended child had read to its parent's account."""
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    for second, (parent, child) in enumerate(
        [(0, 0), (MB, 5 * MB), (2 * MB, 9 * MB), (12 * MB, None), (13 * MB, None)]
    ):
        run.process(float(second), 42, read=parent)
        if child is not None:
            run.process(float(second), 43, read=child)
    run.process(5.0, 42, read=14 * MB)
    follower.look()
    read = follower.histories()["read"]
    assert list(read.values) == pytest.approx([6 * MB, 5 * MB, MB, MB])


def test_the_larger_of_two_lower_bounds_counts_with_v1(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    for second in range(4):
        told = f"254:0 Read {second * 9 * MB}\n254:0 Write 0\nTotal {second * 9 * MB}\n"
        source = {"blkio__blkio_DOT_throttle_DOT_io_service_bytes_recursive": told}
        run.sample("cgroup/samples", float(second), cpuacct__cpuacct_DOT_usage=f"{second * 10**9}\n", **source)
        run.process(float(second), 42, read=second * MB)
    follower.look()
    assert latest(follower)["read"] == pytest.approx(9 * MB)
    assert latest(follower)["write"] == 0.0
    assert latest(follower)["cpu"] == pytest.approx(1.0)


def test_steps_are_counted_and_timed_as_they_end(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.steps([0.5, 1.0, 1.5])
    follower.look()
    assert follower.steps == 3
    run.steps([0.5, 1.0, 1.5, 3.5, 6.5])
    follower.look()
    follower.look()
    assert follower.steps == 5
    assert list(follower.histories()["step_time"].values) == pytest.approx([0.5, 0.5, 2.0, 3.0])


def test_only_the_most_telling_kind_of_steps_counts_as_in_the_table(tmp_path: Path) -> None:
    """A program that says its steps itself, and is instrumented, too; a second optimizer prolongs a step."""
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.steps([1.0, 2.0, 2.5], names=["train", "train", "train+"])
    follower.look()
    assert follower.steps == 2
    run.steps([1.0, 2.0, 2.5, 3.0, 4.0], names=["train", "train", "train+", "", "other"])
    follower.look()
    assert follower.steps == 1


def test_a_step_whose_start_is_not_known_is_not_counted(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.steps([1.0, 2.0], phase="startup")
    follower.look()
    assert follower.steps == 1


def test_steps_are_found_in_a_file_with_much_room_in_reserve(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.steps([0.001 * number for number in range(1, 5001)])
    follower.look()
    assert follower.steps == 5000
    with (run.path / "raw" / "phases" / "42-1.bin").open("ab") as file:
        file.write(bytes(4 << 20))
    follower.look()
    assert follower.steps == 5000


def test_a_dated_step_lasts_from_its_own_start(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.steps([1.0, 4.0], begins={1: 3.75})
    follower.look()
    assert follower.histories()["step_time"].latest == pytest.approx(0.25)


RAILS = [
    {"rail": "VDD_IN", "source": "hwmon", "quantity": "mV*mA", "frames": ["v", "a"], "total": True, "limit": None},
    {"rail": "VDD_CPU", "source": "hwmon", "quantity": "uW", "frames": ["cpu"], "total": False, "limit": None},
]


def test_power_is_of_the_rail_that_contains_the_others(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.writer("power/power")
    (run.path / "raw" / "power" / "rails.json").write_text(json.dumps(RAILS))
    for second in range(3):
        run.sample("power/power", float(second), v="5000\n", a="1200\n", cpu="2500000\n")
    follower.look()
    assert latest(follower)["power"] == pytest.approx(6.0)


def test_an_energy_counter_that_wraps_goes_on(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    run.writer("power/power")
    rail = {"rail": "package-0", "source": "rapl", "quantity": "uJ", "frames": ["e"], "total": True, "limit": 10**7}
    (run.path / "raw" / "power" / "rails.json").write_text(json.dumps([rail]))
    for second, count in enumerate([2_000_000, 6_000_000, 0, 4_000_000]):
        run.sample("power/power", float(second), e=f"{count}\n")
    follower.look()
    assert list(follower.histories()["power"].values) == pytest.approx([4.0, 4.0, 4.0])


def test_lines_of_tegrastats_may_be_cut_anywhere(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    line = (
        b"RAM 2000/7000MB (lfb 1x4MB) SWAP 0/3000MB CPU [10%@1479,5%@1479] VDD_IN 4200mW/4100mW VDD_SOC 900mW/900mW\n"
    )
    for second, (begin, end) in enumerate([(0, 30), (30, 80), (80, len(line))]):
        run.sample("power/power", float(second), tegrastats=line[begin:end])
    follower.look()
    assert latest(follower)["power"] == pytest.approx(4.2)


def test_a_run_of_a_newer_edgeprof_is_told_and_not_guessed_at(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run", partial(schema=99))
    run.cgroup_v2(0.0)
    run.cgroup_v2(1.0)
    follower = Follower(run.path)
    follower.look()
    assert "newer edgeprof (schema 99)" in str(follower.problem)
    assert latest(follower) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"schema": "x", "run": {}}', "9" * 5000])
def test_a_damaged_manifest_is_waited_for(tmp_path: Path, content: str) -> None:
    run = LiveRun(tmp_path / "run")
    (run.path / "manifest.partial.json").write_text(content)
    follower = Follower(run.path)
    run.cgroup_v2(0.0)
    run.cgroup_v2(1.0)
    follower.look()
    assert latest(follower)["cpu"] == pytest.approx(1.5)
    (run.path / "manifest.partial.json").write_text(json.dumps(partial()))
    run.cgroup_v2(2.0)
    run.cgroup_v2(3.0)
    follower.look()
    assert follower.info["name"] == "demo"
    assert latest(follower)["cpu"] == pytest.approx(1.5)


def test_numbers_that_no_clock_has_are_left_out(tmp_path: Path) -> None:
    info = dict(partial()["run"], start_ns=10**400)
    run = LiveRun(tmp_path / "run", partial(run=info, host={"page_bytes": -1, "devices": 5}))
    run.cgroup_v2(10.0)
    run.cgroup_v2(11.0)
    follower = Follower(run.path)
    follower.look()
    assert follower.seconds == 1.0  # since the first sample
    assert latest(follower)["cpu"] == pytest.approx(1.5)


@pytest.mark.parametrize("link", ["raw", "raw/cgroup", "raw/cgroup/samples.frames", "raw/phases/42-1.bin"])
def test_links_out_of_the_capture_are_not_followed(tmp_path: Path, link: str) -> None:
    outside = LiveRun(tmp_path / "outside")
    outside.cgroup_v2(0.0)
    outside.cgroup_v2(1.0)
    outside.steps([1.0])
    run = LiveRun(tmp_path / "run")
    (run.path / "raw" / "phases").rmdir()
    (run.path / "raw").rmdir()
    (run.path / link).parent.mkdir(parents=True, exist_ok=True)
    (run.path / link).symlink_to(outside.path / link)
    follower = Follower(run.path)
    follower.look()
    assert latest(follower) == {}
    assert follower.steps == 0


def test_it_ends_with_the_final_manifest(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "run")
    follower = Follower(run.path)
    follower.look()
    assert not follower.ended
    run.end()
    follower.look()
    assert follower.ended
