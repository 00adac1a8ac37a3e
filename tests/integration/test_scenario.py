"""Scenarios on a real kernel: roles in cgroups of their own, deadlines, and who delayed whom."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.run import Run, open_run
from edgeprof.workloads.scenarios import __main__ as starting
from edgeprof.workloads.scenarios.spec import Role, ScenarioSpec
from tests.helpers import Places, cgroups_left

pytestmark = pytest.mark.root

VICTIM = """
import time
from edgeprof.workloads.arrivals import serve

def answer(number):
    end = time.thread_time() + 0.02
    while time.thread_time() < end:
        pass

serve(answer, rate=20, deadline=0.03, seconds=60)
"""
HOG = "import os\nfor _ in range(3 * os.cpu_count()):\n    if os.fork() == 0:\n        break\nwhile True:\n    pass\n"

SCENARIO = """
seconds: 3
roles:
  steering: {{kind: command, command: [{python}, -c, {victim}]}}
  hog: {{kind: command, command: [{python}, -c, {hog}]}}
  recorder: {{kind: recorder, rate: 20, bytes: 100000, total: 4000000, sync: 0.5}}
  map: {{kind: tiles, rate: 20, bytes: 65536, total: 8000000, deadline: 0.05}}
"""


def captured(places: Places, *words: str) -> tuple[Run, dict[str, Any]]:
    """Run edgeprof; the run, and what the scenario printed as its last line."""
    done = places.edgeprof("run", "--no-report", *words)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return open_run(places.only()), said


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of data sets of the test's own."""
    monkeypatch.setenv("EDGEPROF_DATA_CACHE", str(tmp_path / "data"))
    return tmp_path / "data"


def test_the_role_that_takes_the_processors_is_named(places: Places, data: Path) -> None:
    words = {"python": json.dumps(sys.executable), "victim": json.dumps(VICTIM), "hog": json.dumps(HOG)}
    (places.base / "mine.yaml").write_text(SCENARIO.format(**words))
    run, said = captured(places, "mine.yaml")
    assert said["cgroups"] == "own"
    assert {name: item["exit_code"] for name, item in said["roles"].items()} == {
        "steering": None,  # like the hog, it does not end by itself
        "hog": None,
        "recorder": 0,
        "map": 0,
    }
    roles = run.manifest["roles"]
    figures = {item["role"]: item for item in roles["figures"]}
    assert set(figures) == {"steering", "hog", "recorder", "map"}
    steering = figures["steering"]
    assert steering["deadline"] == 0.03
    assert steering["misses"] > 0.2 * steering["steps"], "seven programs want its processor"
    assert steering["latency_max"] > 0.03
    assert figures["recorder"]["block_write_bytes"] > 0
    assert figures["hog"]["cpu_time"] > 2
    own = [item for item in roles["delays"] if item["victim"] == "steering" and item["culprit"] in figures]
    assert (own[0]["resource"], own[0]["culprit"]) == ("cpu", "hog")
    assert own[0]["seconds"] > 0.9 * sum(item["seconds"] for item in own if item["resource"] == "cpu")
    assert any(line.startswith("steering missed") and "hog" in line for line in roles["sentences"])
    table = run.table("process")
    assert set(table["role"].dropna()) == {"steering", "hog", "recorder", "map", "scenario"}
    assert cgroups_left(places) == []
    assert [path.name for path in (data / "scenario-mine").iterdir()] == ["map-8000000-0.bin"], "what roles wrote"


def test_a_role_that_fails_ends_the_scenario_and_is_named(places: Places, data: Path) -> None:
    roles = "{camera: {kind: recorder, rate: 10}, broken: {workload: pilotnet, framework: litert, lifecycle: train}}"
    (places.base / "mine.yaml").write_text(f"seconds: 60\nroles: {roles}\n")
    done = places.edgeprof("run", "--no-report", "--data-size", "300K", "mine.yaml")
    assert done.returncode == 1
    assert "the role broken ended with code 2 before it was ready" in done.stderr
    assert cgroups_left(places) == []


def test_a_scenario_that_is_not_right_is_one_sentence(places: Places) -> None:
    (places.base / "mine.yaml").write_text("roles: {a: {kind: films}}\n")
    done = places.edgeprof("run", "mine.yaml")
    assert done.returncode == 120
    assert done.stderr.startswith("edgeprof: the scenario mine.yaml: the role a has an unknown kind 'films'")
    assert len(done.stderr.splitlines()) == 1


def test_outside_a_run_roles_have_no_cgroups_and_work_all_the_same(tmp_path: Path) -> None:
    spec = {"name": "alone", "seconds": 0.5, "folder": str(tmp_path)}
    spec["roles"] = [{"name": "camera", "kind": "recorder", "rate": 20, "bytes": 1000, "total": 9000}]
    command = [sys.executable, "-m", "edgeprof.workloads.scenarios", json.dumps(spec)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    said = json.loads(done.stdout)
    assert said["roles"]["camera"]["result"]["answered"] == pytest.approx(10, abs=1)
    assert said["cgroups"] == "this process is not in the cgroup of a run"
    assert list(tmp_path.iterdir()) == []


WAITS_FOR_EVER = 'touch "$EDGEPROF_GATE/ready-$$"; exec sleep 60'


def alone(tmp_path: Path, seconds: float, *roles: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """A scenario of commands outside a run."""
    spec = {
        "name": "alone",
        "seconds": seconds,
        "folder": str(tmp_path),
        "roles": [dict(r, kind="command") for r in roles],
    }
    command = [sys.executable, "-m", "edgeprof.workloads.scenarios", json.dumps(spec)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_command_is_ended_with_the_scenario_however_it_takes_that(tmp_path: Path) -> None:
    trap = {"name": "trap", "command": ["sh", "-c", "trap 'exit 3' TERM; echo 7; while :; do sleep 0.05; done"]}
    fails = {"name": "fails", "command": ["sh", "-c", "exit 4"]}
    done = alone(tmp_path, 0.5, trap)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["roles"] == {"trap": {"exit_code": None, "result": 7}}
    done = alone(tmp_path, 0.5, trap, fails)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "edgeprof scenario: failed roles: fails")
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    done = alone(tmp_path, 5, {"name": "other", "command": ["sleep", "60"]}, {"name": "mine", "command": ["/no/such"]})
    said = "edgeprof scenario: the role mine cannot be started: /no/such: No such file or directory\n"
    assert (done.returncode, done.stderr) == (1, said)
    assert list(tmp_path.iterdir()) == []


def test_a_role_that_does_not_end_with_its_time_is_ended_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = ScenarioSpec("alone", (Role("camera", "recorder"),), seconds=0.1, folder=str(tmp_path))
    monkeypatch.setattr(starting, "GRACE", 0.2)
    monkeypatch.setattr(starting, "command_of", lambda role, spec, folder: ["sh", "-c", WAITS_FOR_EVER])
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    assert starting.main([spec.to_json()]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["roles"] == {"camera": {"exit_code": None, "result": None}}
    assert said.err == "edgeprof scenario: still at work 0.2 s after their time, and ended: camera\n"


def test_driving_tells_which_role_delayed_which(places: Places, data: Path) -> None:
    run, said = captured(places, "--size", "tiny", "--data-size", "3M", "--duration", "20", "driving")
    assert {item["exit_code"] for item in said["roles"].values()} == {0}
    roles = run.manifest["roles"]
    assert {item["role"] for item in roles["figures"]} == {"recorder", "detector", "steering", "map", "tuning"}
    deadlines = {item["role"]: item["deadline"] for item in roles["figures"]}
    assert deadlines == pytest.approx(
        {"recorder": 1 / 30, "detector": 0.1, "steering": 0.033, "map": 0.05, "tuning": None}
    )
    assert all(item["steps"] > 0 for item in roles["figures"])
    assert roles["sentences"]
    victims = {item["victim"] for item in roles["delays"]}
    assert victims & {"detector", "steering", "map"}
    assert run.metrics["wall_time"]["value"] > 20
    from edgeprof.dashboards.report import build_report

    page = build_report(run).read_text()
    assert 'id="figure-role-delays"' in page
    assert roles["sentences"][0].partition(";")[0] in page
