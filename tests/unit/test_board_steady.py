"""Waiting for a steady machine: what still moves holds it up, what does not move lets it go, and the bound ends it."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprof.collectors.base import Roots
from edgeprof.profiler.agent import marks
from edgeprof.profiler.agent.conditions import pause
from edgeprof.profiler.agent.spec import Interrupted
from edgeprof.profiler.agent.steady import SAMPLES, WINDOW, Watch, wait_steady
from tests.board_trees import heating, plant

TICKS = os.sysconf("SC_CLK_TCK")


class Machine:
    """A board whose files change as its time, which only waiting moves, goes on."""

    def __init__(self, folder: Path, board: str = "orin-nx-jetpack5") -> None:
        self.roots = plant(board, folder)
        Path(self.roots.proc).mkdir(exist_ok=True)
        self.now = 100.0
        self.said: list[str] = []
        self.waits: list[float] = []
        self.changes: list[Callable[[float], None]] = []
        self.others = 0.0
        self._ticks = [0.0, 0.0]
        self._stat(0)

    def _stat(self, seconds: float) -> None:
        self._ticks[0] += self.others * 4 * seconds * TICKS
        self._ticks[1] += (1 - self.others) * 4 * seconds * TICKS
        busy, idle = map(round, self._ticks)
        (Path(self.roots.proc) / "stat").write_text(f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\nprocs_running 3\n")

    def put(self, path: str, number: float) -> None:
        (Path(self.roots.sys) / path).write_text(f"{round(number)}\n")

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self._stat(seconds)
        for change in self.changes:
            change(self.now - 100)

    def wait(self, most: float = 60) -> dict[str, Any]:
        return wait_steady(most, self.pause, self.said.append, self.roots, lambda: self.now)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


ZONE = "class/thermal/thermal_zone0/temp"
POLICY = "devices/system/cpu/cpufreq/policy0"


def test_a_still_machine_is_steady_after_one_window(machine: Machine) -> None:
    found = machine.wait()
    assert (found["reached"], found["unsteady"], found["window"]) == (True, [], WINDOW)
    assert WINDOW * 0.9 <= found["waited"] <= WINDOW + 1
    assert set(machine.waits) == {WINDOW / SAMPLES}
    assert machine.said == [
        "waiting until temperatures, clocks and load are steady, at most 60 s",
        f"steady after {found['waited']:.1f} s",
    ]
    temperature, clocks, load = (found["criteria"][name] for name in ("temperature", "clocks", "load"))
    assert temperature["last"] == {"CPU-therm": 52.5, "GPU-therm": 51.0}  # the others are powered down
    assert clocks["first"] == {"policy0": 1420.8e6}
    assert (load["last"], load["runnable"]) == (0.0, {"first": 2, "last": 2})
    assert all(item["steady"] and item["reason"] == "" for item in (temperature, clocks, load))
    assert marks.marks({"steady": found}) == []


def test_a_board_that_cools_down_is_waited_for(machine: Machine) -> None:
    machine.changes.append(lambda at: machine.put(ZONE, 50000 + 20000 * 0.5 ** (at / 5)))
    found = machine.wait()
    assert found["reached"]
    assert 25 < found["waited"] < 50  # 20 °C halved each 5 s fall by 0.5 °C in 10 s after half a minute
    assert found["criteria"]["temperature"]["first"]["CPU-therm"] == 52.5
    assert any("CPU-therm fell by" in line and "°C in 10 s" in line for line in machine.said)


def test_the_bound_ends_the_wait_and_the_run_is_marked(machine: Machine) -> None:
    machine.changes.append(lambda at: machine.put(ZONE, 50000 + 500 * at))
    found = machine.wait(40)
    assert (found["reached"], found["waited"]) == (False, pytest.approx(40))
    assert found["unsteady"] == ["CPU-therm rose by 5.0 °C in 10 s"]
    assert found["criteria"]["temperature"]["steady"] is False
    assert found["criteria"]["clocks"]["steady"] is True
    assert marks.marks({"steady": found}) == [
        "the machine was not steady at the start after 40 s of waiting: CPU-therm rose by 5.0 °C in 10 s"
    ]
    progress = [line for line in machine.said if line.startswith("not steady after ")]
    assert [line.partition(" s ")[0] for line in progress[:-1]] == [f"not steady after {at}" for at in (10, 20, 30)]


def test_a_zone_that_still_falls_slowly_is_not_steady(machine: Machine) -> None:
    machine.changes.append(lambda at: machine.put(ZONE, 60000 - 90 * at))
    found = machine.wait(30)
    assert found["unsteady"] == ["CPU-therm still cools down, by 0.7 °C in 10 s"]


def test_a_sensor_that_flickers_by_its_own_step_is_steady(machine: Machine) -> None:
    machine.changes.append(lambda at: machine.put(ZONE, 52000 + 1000 * (round(at) % 2)))
    assert machine.wait()["reached"]


def test_a_governor_may_move_the_clock_within_its_limits_and_heat_may_not_move_the_limits(machine: Machine) -> None:
    machine.changes.append(lambda at: machine.put(f"{POLICY}/scaling_cur_freq", 729600 if round(at) % 2 else 1984000))
    assert machine.wait()["reached"]
    machine.changes.append(lambda at: machine.put(f"{POLICY}/scaling_max_freq", 1984000 - 1000 * round(at)))
    assert machine.wait(30)["unsteady"] == ["the limits of policy0's clock changed within 10 s"]


def test_a_clock_outside_its_limits_must_hold_still(machine: Machine) -> None:
    machine.changes.append(lambda at: machine.put(f"{POLICY}/scaling_cur_freq", 300000 + 100000 * (round(at) % 3)))
    found = machine.wait(30)
    assert found["unsteady"] == ["policy0's clock varied from 300 to 500 MHz in 10 s"]
    machine.changes = [lambda at: machine.put(f"{POLICY}/scaling_cur_freq", 600000)]
    assert machine.wait(30)["reached"]  # held down by the firmware, but evenly


def test_the_load_of_others_is_waited_for(machine: Machine) -> None:
    machine.others = 0.5
    machine.changes.append(lambda at: setattr(machine, "others", 0.5 if at < 15 else 0.02))
    found = machine.wait()
    assert found["reached"]
    assert 20 < found["waited"] < 27
    load = found["criteria"]["load"]
    assert load["first"] == pytest.approx(0.5, abs=0.05)
    assert load["last"] < 0.1
    assert any("other programs used 50% of the processors for 10 s" in line for line in machine.said)


def test_edgeprofs_own_time_is_not_load(machine: Machine) -> None:
    machine.others = 0.2
    used = Watch(machine.roots, 10, own=lambda: (machine.now - 100) * 4 * 0.15)
    for _ in range(11):
        used.sample(machine.now)
        machine.pause(1)
    assert used.criteria()["load"]["last"] == pytest.approx(0.05, abs=0.01)
    assert used.unsteady() == []
    used.close()


def test_a_machine_that_shows_nothing_is_told_as_not_known(tmp_path: Path) -> None:
    roots = Roots(proc=str(tmp_path / "proc"), sys=str(tmp_path / "sys"))
    found = wait_steady(30, lambda _: pytest.fail("there is nothing to wait for"), roots=roots)
    assert [item["steady"] for item in found["criteria"].values()] == [None] * 3
    assert all(item["reason"] for item in found["criteria"].values())
    assert found["reached"] is None
    assert marks.marks({"steady": found}) == []


def test_a_short_wait_is_judged_by_its_half(machine: Machine) -> None:
    found = machine.wait(4)
    assert (found["window"], found["reached"]) == (2.0, True)
    assert found["waited"] < 3


@pytest.mark.parametrize("cost", [0.0, 0.0115, 0.05, 0.3, 1.5])
def test_readings_that_take_long_do_not_make_a_still_machine_unsteady(machine: Machine, cost: float) -> None:
    found = wait_steady(
        2, lambda seconds: machine.pause(seconds + cost), machine.said.append, machine.roots, lambda: machine.now
    )
    assert (found["reached"], found["unsteady"]) == (True, [])
    assert found["waited"] < 2


def test_in_real_time_the_wait_ends_once_the_zone_holds_still(tmp_path: Path) -> None:
    roots = plant("raspberry-pi", tmp_path)
    with heating(tmp_path / "sys" / ZONE, 0.8):
        found = wait_steady(2.4, time.sleep, roots=Roots(proc="/nowhere", sys=roots.sys))
    assert found["reached"]
    assert 1.5 < found["waited"] < 2.4
    assert found["criteria"]["load"]["reason"]


def test_a_signal_ends_the_pause_unless_it_is_ignored() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGHUP})
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)  # other threads do not block it
        with pytest.raises(Interrupted) as error:
            pause(30)
        assert error.value.exit_code == 128 + signal.SIGTERM
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
        pause(0.01)
    finally:
        signal.signal(signal.SIGHUP, old)
        while signal.sigtimedwait({signal.SIGTERM, signal.SIGHUP}, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(st.binary(max_size=80), st.binary(max_size=200))
def test_damaged_files_never_break_the_wait(tmp_path_factory: pytest.TempPathFactory, text: bytes, stat: bytes) -> None:
    machine = Machine(tmp_path_factory.mktemp("board"))
    for path in (ZONE, f"{POLICY}/scaling_cur_freq", f"{POLICY}/scaling_max_freq"):
        (Path(machine.roots.sys) / path).write_bytes(text)
    (Path(machine.roots.proc) / "stat").write_bytes(stat)
    found = wait_steady(
        2,
        lambda seconds: setattr(machine, "now", machine.now + seconds),
        roots=machine.roots,
        clock=lambda: machine.now,
    )
    assert found["waited"] <= 2.1


class TestMarks:
    def firmware(self, start: int | None, end: int | None, **more: Any) -> list[str]:
        return marks.marks({"firmware": {"start": {"throttled": start}, "end": {"throttled": end, **more}}})

    def test_a_quiet_firmware_gives_none(self) -> None:
        assert self.firmware(0, 0) == self.firmware(None, None) == marks.marks({}) == []

    def test_what_is_on_now_or_came_since_the_start_is_of_the_run(self) -> None:
        assert self.firmware(0, 0x50005) == ["the firmware reports for the run: under-voltage, throttled"]
        assert self.firmware(0, 0x20000) == ["the firmware reports for the run: frequency capped"]
        assert self.firmware(None, None, low_voltage=True) == ["the firmware reports for the run: under-voltage"]

    def test_what_was_before_is_told_apart(self) -> None:
        assert self.firmware(0x50000, 0x50000) == [
            "the firmware reports since boot, before the run: under-voltage, throttled; it would not show again"
        ]

    def test_the_pi_is_read_from_its_files(self, tmp_path: Path) -> None:
        roots = plant("raspberry-pi", tmp_path)
        assert marks.read(roots) == {"throttled": 0xE000A, "low_voltage": None}
        chip = tmp_path / "sys/class/hwmon/hwmon1"
        chip.mkdir(parents=True)
        (chip / "name").write_text("rpi_volt\n")
        (chip / "in0_lcrit_alarm").write_text("1\n")
        assert marks.read(roots)["low_voltage"] is True

    def test_vcgencmd_is_asked_where_there_is_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tool = tmp_path / "bin/vcgencmd"
        tool.parent.mkdir()
        tool.write_text("#!/bin/sh\n[ $1 = get_throttled ] && echo throttled=0x50005\n")
        tool.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
        roots = Roots(proc=str(tmp_path / "proc"), sys=str(tmp_path / "sys"))
        assert marks.read(roots)["throttled"] is None
        model = tmp_path / "proc/device-tree/model"
        model.parent.mkdir(parents=True)
        model.write_text("Raspberry Pi 5 Model B Rev 1.0\0")
        assert marks.read(roots)["throttled"] == 0x50005

    def test_another_power_mode_at_the_end_is_told_with_both(self) -> None:
        modes = {"start": {"kind": "nvpmodel", "name": "15W", "number": 2}}
        modes["end"] = {"kind": "nvpmodel", "name": "MAXN", "number": 0}
        assert marks.marks({"power_mode": modes}) == ["the power mode changed during the run: from 15W (2) to MAXN (0)"]

    @settings(max_examples=50, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["steady", "power_mode", "firmware", "start", "end", "reached", "unsteady", "throttled"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(),
                lambda inner: (
                    st.lists(inner, max_size=2)
                    | st.dictionaries(
                        st.sampled_from(["start", "end", "throttled", "reached", "waited", "unsteady", "name"]), inner
                    )
                ),
            ),
        )
    )
    def test_a_hostile_manifest_gives_sentences_or_none(self, content: dict[str, Any]) -> None:
        assert all(isinstance(mark, str) for mark in marks.marks(content))
