"""Idle power: read on the run's own rails before it, stated as W, and taken off its energy; and the run's marks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeprof.cli import main as cli
from edgeprof.collectors.base import Context, Roots
from edgeprof.collectors.parsing import RunFacts
from edgeprof.collectors.thermal import parse as thermal
from edgeprof.collectors.thermal.capture import Thermal
from edgeprof.profiler.agent.idle import measure
from edgeprof.profiler.analysis import compute_from
from edgeprof.profiler.analysis.compare import compare
from edgeprof.profiler.conditions import idle_account, marks, marks_of
from edgeprof.profiler.matrix.axes import axes_of
from edgeprof.profiler.run import DamagedManifest, open_run
from tests import tiny_run
from tests.board_trees import plant

INA = "devices/i2c1/1-0040/hwmon/hwmon3"


def measured(tmp_path: Path, roots: Roots, seconds: float = 0.3) -> dict[str, Any]:
    part = measure(seconds, str(tmp_path / "raw"), time.sleep, 20, roots, {"tegrastats": "/nowhere"})
    return idle_account(tmp_path / "raw", part)


def rail(name: str, watts: float, total: bool = False, source: str = "ina3221", seconds: float = 4.0) -> dict[str, Any]:
    return {"source": source, "name": name, "total": total, "joules": watts * seconds, "seconds": seconds}


def figures(**changes: Any) -> dict[str, dict[str, Any]]:
    rows = compute_from(tiny_run.data(**changes)).to_pylist()
    return {row["name"]: row for row in rows if row["phase"] is None}


def test_a_boards_rails_are_measured_while_it_idles(tmp_path: Path) -> None:
    found = measured(tmp_path, plant("orin-nx-jetpack5", tmp_path))
    assert (found["asked"], found["available"], found["reason"]) == (0.3, True, "")
    assert (found["end_ns"] - found["start_ns"]) / 1e9 == pytest.approx(0.3, abs=0.1)
    watts = {item["name"]: item["joules"] / item["seconds"] for item in found["rails"]}
    assert watts == pytest.approx({"VDD_IN": 4.96 * 1.024, "VDD_CPU_GPU_CV": 4.96 * 0.152, "VDD_SOC": 4.96 * 0.288})
    assert [item["name"] for item in found["rails"] if item["total"]] == ["VDD_IN"]
    assert (tmp_path / "raw/idle/power/power.frames").exists()


def test_a_machine_without_rails_says_why(tmp_path: Path) -> None:
    found = measured(tmp_path, plant("virtual-machine", tmp_path), 60)
    assert not found["available"]
    assert "no power sensor here" in found["reason"]
    value = figures(idle_power=found)["idle_power"]
    assert (value["value"], value["reason"]) == (None, found["reason"])


def test_what_interrupts_the_measurement_stops_the_collector(tmp_path: Path) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(60, str(tmp_path / "raw"), interrupted, 10, plant("orin-nx-jetpack5", tmp_path))
    assert (tmp_path / "raw/idle/power/power.frames").stat().st_size > 0


def test_damaged_frames_are_a_reason(tmp_path: Path) -> None:
    part = {"start_ns": 0, "end_ns": 10**9, "available": True, "reason": ""}
    assert "read at least twice" in idle_account(tmp_path, part)["reason"]
    folder = tmp_path / "idle/power"
    folder.mkdir(parents=True)
    (folder / "power.frames").write_bytes(b"\0" * 40)
    (folder / "rails.json").write_text("[7]")
    assert idle_account(tmp_path, part)["rails"] == []
    for wrong in ({}, {"available": True, "start_ns": "x", "end_ns": None}):
        assert "not measured to its end" in idle_account(tmp_path, wrong)["reason"]


class TestMetrics:
    def test_the_total_rail_alone_counts_gross_and_idle(self) -> None:
        idle = {"rails": [rail("VDD_IN", 3.0, total=True), rail("VDD_CPU", 1.0)]}
        found = figures(idle_power=idle)
        assert found["energy"]["value"] == 50.0  # 5 W for 10 s
        assert found["idle_power"]["value"] == pytest.approx(3.0)
        assert found["idle_power"]["unit"] == "W"
        assert found["energy_net"]["value"] == pytest.approx(50.0 - 3.0 * 10)
        assert found["energy_net"]["how"] == "rail VDD_IN (ina3221); less 3 W of the idle machine for 10 s"

    def test_without_a_total_the_rails_are_added(self) -> None:
        table = tiny_run.power().filter([name == "VDD_CPU" for name in tiny_run.power()["rail"].to_pylist()])
        idle = {"rails": [rail("VDD_IN", 3.0, total=True), rail("VDD_CPU", 0.5)]}
        found = figures(idle_power=idle, tables={"power": table})
        assert found["idle_power"]["value"] == pytest.approx(0.5)  # the run's own rail, though a larger one was read
        assert found["energy_net"]["value"] == pytest.approx(20.0 - 5.0)

    def test_not_measured_is_null_with_what_to_do(self) -> None:
        found = figures()
        for name in ("idle_power", "energy_net"):
            assert found[name]["value"] is None
            assert "`edgeprof run --idle`" in found[name]["reason"]

    def test_a_rail_of_the_run_that_was_not_read_idle_is_a_reason(self) -> None:
        found = figures(idle_power={"rails": [rail("VDD_CPU", 1.0)]})
        assert found["energy_net"]["value"] is None
        assert "VDD_IN, which was not read while idle" in found["energy_net"]["reason"]

    def test_without_power_in_the_run_the_idle_power_stands_alone(self) -> None:
        found = figures(idle_power={"rails": [rail("VDD_IN", 3.0, total=True)]}, without=("power",))
        assert found["idle_power"]["value"] == pytest.approx(3.0)
        assert found["energy_net"]["value"] is None

    @pytest.mark.parametrize("rails", [[{}], [{"source": 1}], [rail("VDD_IN", 1.0, seconds=0.0)], "x", 7])
    def test_a_hostile_manifest_costs_these_figures_only(self, rails: Any) -> None:
        found = figures(idle_power={"rails": rails})
        assert found["idle_power"]["value"] is None
        assert found["idle_power"]["reason"]
        assert found["energy"]["value"] == 50.0


class TestMarks:
    def test_throttling_and_low_voltage_mark_a_run(self) -> None:
        metrics = {"throttled_time": {"value": 2.0}, "wall_time": {"value": 10.0}}
        notes = {"ingest": {"notes": [thermal.LOW_VOLTAGE]}}
        assert marks(notes, metrics) == [
            "a processor was throttled for 2 s of 10 s",
            "the supply voltage was too low during the run; use a stronger power supply or cable",
        ]
        assert marks({}, {"throttled_time": {"value": 0.0}}) == marks({}, {"throttled_time": {"value": None}}) == []

    def test_the_kernels_voltage_alarm_is_sampled_with_the_temperatures(self, tmp_path: Path) -> None:
        roots = plant("raspberry-pi", tmp_path)
        chip = tmp_path / "sys/class/hwmon/hwmon1"
        chip.mkdir(parents=True)
        (chip / "name").write_text("rpi_volt\n")
        alarm = chip / "in0_lcrit_alarm"
        alarm.write_text("0\n")
        (tmp_path / "thermal").mkdir()
        collector = Thermal(Context(str(tmp_path / "thermal"), roots))
        collector.start()
        assert thermal.LOW_VOLTAGE not in thermal.parse(tmp_path, RunFacts(0, None, 1)).notes
        alarm.write_text("1\n")
        collector.last(10**17)
        collector.stop()
        assert thermal.parse(tmp_path, RunFacts(0, None, 1)).notes.count(thermal.LOW_VOLTAGE) == 1

    def test_a_marked_run_is_told_by_show_and_compare(self, tmp_path: Path) -> None:
        plain = tiny_run.write(tmp_path / "plain")
        marked = tiny_run.write(tmp_path / "marked", marks=["the power mode changed during the run: from A to B"])
        assert marks_of(open_run(marked)) == ["the power mode changed during the run: from A to B"]
        assert compare([open_run(plain), open_run(plain)])["marked"] == []
        said = CliRunner().invoke(cli.cli, ["compare", str(plain), str(marked)]).output
        assert (
            "marked is marked, so its figures may not be comparable: the power mode changed during the run: from A to B"
            in said
        )
        shown = CliRunner().invoke(cli.cli, ["show", str(marked)]).output
        assert "Marked: its figures may not be comparable" in shown
        assert "Marked" not in CliRunner().invoke(cli.cli, ["show", str(plain)]).output
        told = json.loads(CliRunner().invoke(cli.cli, ["show", str(marked), "--json"]).output)
        assert told["marks"] == ["the power mode changed during the run: from A to B"]

    def test_a_group_with_marked_runs_is_told_once(self, tmp_path: Path) -> None:
        pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")
        for group in ("a", "b"):
            for number in range(3):
                found = {"marks": ["throttled"]} if group == "b" and number else {}
                tiny_run.write(tmp_path / group / f"run{number}", run={"wall_time": 10.0 + number / 10}, **found)
        said = CliRunner().invoke(cli.cli, ["compare", str(tmp_path / "a"), str(tmp_path / "b")]).output
        assert "2 of 3 runs of b are marked, so the figures may not be comparable: run1: throttled; run2" in said
        assert "of a are marked" not in said

    def test_the_report_begins_with_the_marks(self, tmp_path: Path) -> None:
        from edgeprof.dashboards.report import build_report

        idle = {"rails": [rail("VDD_IN", 3.0, total=True)]}
        path = tiny_run.write(tmp_path / "marked", marks=["not <b>steady</b>"], idle_power=idle)
        page = build_report(open_run(path)).read_text()
        assert "This run is marked" in page
        assert "not &lt;b&gt;steady&lt;/b&gt;" in page
        assert page.index("This run is marked") < page.index("Energy, less idle")

    def test_marks_that_are_no_texts_are_a_damaged_manifest(self, tmp_path: Path) -> None:
        path = tiny_run.write(tmp_path / "run", metrics=False, marks=[{"a": 1}])
        with pytest.raises(DamagedManifest, match="'marks' holds something that is no text"):
            open_run(path)


def test_the_options_are_axes_of_a_matrix() -> None:
    from edgeprof.cli.run import command

    axes = axes_of(command)
    assert axes["steady"].words(60) == ["--steady=60"]
    assert axes["power_mode"].words("15W") == ["--power-mode=15W"]
    assert axes["idle"].words(5) == ["--idle=5"]
    assert axes["idle"].check("5") == 5.0
    assert not any(axes[name].of_workload for name in ("steady", "power_mode", "idle"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--steady", "30", "--idle", "--power-mode", "15W"], (30.0, "15W", 10.0)),
        (["--idle"], (None, "", 10.0)),
        (["--idle", "2.5"], (None, "", 2.5)),
        ([], (None, "", 0.0)),
    ],
)
def test_the_command_line_asks_for_them(words: list[str], expected: tuple[Any, ...]) -> None:
    from edgeprof.cli.run import command, experiment_of

    with command.make_context("run", [*words, "--", "true"]) as context:
        run = experiment_of(context, context.params).run
    assert (run.steady, run.power_mode, run.idle) == expected
    assert run.command == ["true"]


@pytest.mark.parametrize("words", [["--steady", "0"], ["--idle", "nan"], ["--idle=0.5"], ["--steady", "1e9"]])
def test_times_out_of_range_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *words, "--", "true"]) == 120
    assert words[0].partition("=")[0] in capsys.readouterr().err
