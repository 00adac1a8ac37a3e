"""A run's conditions, by the agent on a recorded board: set before the workload, told in the manifest, put back after.

The board's /sys is a recorded tree, its nvpmodel a stand-in; the agent, its processes, signals and journals are real.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.ingest import ingest
from tests import nvpmodel_stand_in
from tests.board_trees import heating, plant
from tests.helpers import Places, processes_with, wait_until
from tests.nvpmodel_stand_in import StandIn

ZONE = "class/thermal/thermal_zone0/temp"
INPUT = "devices/i2c1/1-0040/hwmon/hwmon3/curr1_input"
IDLE_WATTS = 4.96 * 1.024


class Board:
    """A recorded Orin NX in 15W mode, and the agent on it."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.sys = Path(plant("orin-nx-jetpack5", places.base / "board").sys)
        (places.base / "board/proc").mkdir()  # so that this machine's own load does not count
        self.tool: StandIn = nvpmodel_stand_in.make(places.base / "jetson")
        (self.sys / "class/thermal/cooling_device1/cur_state").write_text("0\n")

    def start(self, *command: str, **fields: Any) -> subprocess.Popen[str]:
        """Start the agent."""
        roots = {"sys": str(self.sys), "proc": str(self.places.base / "board/proc"), "etc": self.tool.etc}
        options = {"power_mode": {"nvpmodel": self.tool.program}, "clocks": {"nvpmodel": self.tool.program}}
        spec = {
            "command": list(command),
            "folder": str(self.places.runs),
            "collect": ["power", "thermal", "clocks"],
            "roots": roots,
            "options": options,
            **fields,
        }
        file = self.places.base / "spec.json"
        file.write_text(json.dumps(spec))
        return subprocess.Popen(
            [sys.executable, "-m", "edgeprof.profiler.agent", str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.places.base,
            env=self.places.environment(TEST_MARK=str(self.places.base)),
        )

    def run(self, *command: str, **fields: Any) -> dict[str, Any]:
        """Run the agent to the end of a command that ends well; the manifest after ingest."""
        with self.start(*command, **fields) as process:
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return ingest(self.places.only()).manifest

    def nothing_left(self) -> None:
        """The machine is as before: mode, journals, processes."""
        assert self.tool.mode == 2
        assert self.places.journals() == []
        wait_until(lambda: not processes_with(str(self.places.base)), "the end of all processes")


@pytest.fixture
def board(places: Places) -> Board:
    return Board(places)


def test_a_run_sets_the_mode_waits_measures_idle_and_puts_all_back(board: Board) -> None:
    work = f"cat {board.tool.folder}/mode > seen; echo 3072 > {board.sys / INPUT}; sleep 1.2"
    content = board.run("sh", "-c", work, power_mode="maxn", steady=1, idle=0.5)
    assert (board.places.base / "seen").read_text() == "0\n"
    mode = content["power_mode"]
    assert (mode["asked"], mode["restored"]) == ("maxn", True)
    assert [mode[when]["number"] for when in ("before", "start", "end")] == [2, 0, 0]
    assert content["factors"]["unit"]["power_mode"] == "MAXN"
    assert content["steady"]["reached"] is True
    assert content["steady"]["criteria"]["temperature"]["last"]["CPU-therm"] == 52.5
    assert content["steady"]["criteria"]["load"]["reason"]
    assert content["marks"] == []
    metrics = ingest(board.places.only()).metrics
    gross, idle, net = (metrics[name]["value"] for name in ("energy", "idle_power", "energy_net"))
    assert idle == pytest.approx(IDLE_WATTS)
    assert gross < 3.2 * IDLE_WATTS * 1.4  # VDD_IN alone: with the rails that it contains it would be more
    assert net == pytest.approx(gross - IDLE_WATTS * content["run"]["wall_time"], rel=0.02)
    assert net > 0
    assert content["overhead"]["wall_added_seconds"] < 1.5  # the waits that were asked for are no overhead
    board.nothing_left()


def test_a_mode_that_is_changed_during_the_run_marks_it_and_is_put_back(board: Board) -> None:
    content = board.run(board.tool.program, "-m", "3", power_mode="0")
    assert content["marks"] == ["the power mode changed during the run: from MAXN (0) to 25W (3)"]
    board.nothing_left()


def test_a_mode_that_the_user_changes_stays_and_marks_the_run(board: Board) -> None:
    content = board.run(board.tool.program, "-m", "3")
    assert content["marks"] == ["the power mode changed during the run: from 15W (2) to 25W (3)"]
    assert board.tool.mode == 3


def test_a_mode_without_a_way_back_is_told_and_clean_tries_again(board: Board) -> None:
    content = board.run("sh", "-c", f"echo 2 > {board.tool.folder}/reboot", power_mode="0")
    assert content["power_mode"]["restored"] is False
    assert "only with a reboot; `sudo nvpmodel -m 2`, answered yes" in content["marks"][0]
    assert len(board.places.journals()) == 1
    board.tool.put("reboot")
    assert "set the power mode back to 15W" in board.places.edgeprof("clean").stdout
    board.nothing_left()


def test_throttling_marks_the_run(board: Board) -> None:
    state = board.sys / "class/thermal/cooling_device1/cur_state"
    content = board.run("sh", "-c", f"echo 1 > {state}; sleep 1.3")
    (mark,) = content["marks"]
    assert mark.startswith("a processor was throttled for ")


def test_an_unsteady_board_is_waited_for_no_longer_than_asked_and_marks_the_run(board: Board) -> None:
    with heating(board.sys / ZONE):
        content = board.run("true", steady=1)
    assert content["steady"]["reached"] is False
    assert content["steady"]["waited"] == pytest.approx(1, abs=0.3)
    assert content["steady"]["criteria"]["temperature"]["steady"] is False
    (mark,) = content["marks"]
    assert mark.startswith("the machine was not steady at the start after 1 s of waiting: CPU-therm rose by ")


@pytest.mark.parametrize(("phase", "number"), [("steady", signal.SIGINT), ("idle", signal.SIGTERM)])
def test_a_signal_during_the_waits_ends_the_run_before_it_begins(board: Board, phase: str, number: int) -> None:
    begun = board.places.base / "begun"
    with heating(board.sys / ZONE):
        process = board.start("touch", str(begun), power_mode="0", **{phase: 600})
        wait_until(lambda: board.tool.mode == 0, "the power mode")
        if phase == "idle":
            wait_until(lambda: list(board.places.runs.glob("*/raw/idle/power/power.frames")), "the idle measurement")
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert errors.splitlines()[-1] == "edgeprof: interrupted before the workload was started"
    assert not begun.exists()
    assert board.places.directories() == []
    board.nothing_left()


MOMENTS: dict[str, Callable[[Board], bool]] = {
    "the mode is being changed": lambda board: (board.tool.folder / "changing").exists(),
    "the machine is waited for": lambda board: board.tool.mode == 0,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_after_kill_9_clean_restores_the_mode(board: Board, moment: str) -> None:
    if moment == "the mode is being changed":
        board.tool.put("hold", "0.5")
    begun = board.places.base / "begun"
    process = board.start("touch", str(begun), power_mode="MAXN", steady=600, idle=600)
    wait_until(lambda: MOMENTS[moment](board), moment)
    process.kill()
    process.communicate()
    (board.tool.folder / "hold").unlink(missing_ok=True)
    done = board.places.edgeprof("clean")
    assert done.returncode == 0, done.stderr
    assert "set the power mode back to 15W" in done.stdout
    assert not begun.exists()
    board.nothing_left()


def test_a_mode_that_cannot_be_set_is_refused_before_anything_runs(board: Board) -> None:
    begun = board.places.base / "begun"
    with board.start("touch", str(begun), power_mode="10W") as process:
        _, errors = process.communicate(timeout=20)
    assert 120 <= process.returncode <= 125
    assert "cannot set the power mode 10W: nvpmodel sets it only with a reboot" in errors
    assert len(errors.splitlines()) == 1
    assert not begun.exists()
    assert board.places.directories() == []
    board.nothing_left()


def test_the_command_line_does_the_same(places: Places) -> None:
    tool = nvpmodel_stand_in.make(places.base / "jetson")
    path = f"{tool.folder}:{os.environ['PATH']}"
    done = places.run(
        *("--steady", "1", "--idle", "1", "--power-mode", "0", "--no-ingest", "--", "cat", f"{tool.folder}/mode"),
        env=places.environment(PATH=path),
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr
    assert "edgeprof: power mode: MAXN (0), until the run's end" in done.stderr
    assert "waiting until temperatures, clocks and load are steady, at most 1 s" in done.stderr
    assert "measuring the power of the idle machine for 1 s" in done.stderr
    content = places.manifest()
    assert (content["spec"]["steady"], content["spec"]["power_mode"], content["spec"]["idle"]) == (1.0, "0", 1.0)
    assert content["factors"]["unit"]["power_mode"] == "MAXN"
    assert tool.mode == 2
    assert places.journals() == []
