"""Scenarios: what may stand in one, how their roles begin together, and how requests arrive."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeprof.workloads import gate
from edgeprof.workloads.arrivals import serve
from edgeprof.workloads.errors import WrongSpec
from edgeprof.workloads.scenarios import cgroups
from edgeprof.workloads.scenarios.cgroups import LAUNCHER, run_folders
from edgeprof.workloads.scenarios.data import need
from edgeprof.workloads.scenarios.spec import FOLDER, ScenarioSpec, load_scenario, names, scenario_of
from edgeprof.workloads.scenarios.streams import make_map

CAMERA = {"kind": "recorder", "rate": 30, "bytes": 1000, "total": 10000}


def scenario(**roles: Any) -> ScenarioSpec:
    return scenario_of({"name": "test", "seconds": 1, "roles": roles})


def test_driving_has_the_roles_of_a_driving_computer() -> None:
    assert "driving" in names()
    spec = load_scenario(FOLDER / "driving.yaml")
    roles = {role.name: role for role in spec.roles}
    assert list(roles) == ["recorder", "detector", "steering", "map", "tuning"]
    detector, steering, tuning = (roles[name].workload for name in ("detector", "steering", "tuning"))
    assert detector
    assert steering
    assert tuning
    assert (detector.arrival, detector.deadline) == (10, 0.1)
    assert (steering.arrival, steering.deadline) == (30, 0.033)
    assert tuning.lifecycle == "train"
    assert tuning.checkpoint_every > 0
    assert ScenarioSpec.from_json(spec.to_json()) == spec


def test_a_scenario_can_be_made_smaller_and_shorter() -> None:
    spec = load_scenario(FOLDER / "driving.yaml").changed("tiny", 20, 1 << 20, 7)
    assert (spec.seconds, spec.data_bytes, spec.seed) == (20, 1 << 20, 7)
    assert {role.workload.size for role in spec.roles if role.workload} == {"tiny"}
    assert {role.workload.seed for role in spec.roles if role.workload} == {7}
    unchanged = spec.changed(None, 0, 1 << 20, 7)
    assert unchanged == spec
    assert {role.workload.seed for role in spec.changed(None, 0, 1, 0).roles if role.workload} == {7}, "their own"
    assert need(spec) > 3 << 20


def test_a_roles_own_data_is_not_made() -> None:
    own = {"workload": "pilotnet", "lifecycle": "infer", "scenario": "multi"}
    assert need(scenario(one=own)) > 0
    for role in ({**own, "data": "/somewhere"}, {"kind": "workload", "workload": {**own, "data": "/somewhere"}}):
        assert need(scenario(one=role)) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "a scenario is a mapping"),
        ({"roles": {}}, "between 1 and 32 roles"),
        ({"seconds": 3}, "needs roles"),
        ({"roles": {"Camera": CAMERA}}, "cannot name a role"),
        ({"roles": {"../x": CAMERA}}, "cannot name a role"),
        ({"roles": {"scenario": CAMERA}}, "not 'scenario'"),
        ({"roles": {"camera": CAMERA}, "name": "../x"}, "'../x' cannot name a scenario"),
        ({"roles": {"camera": CAMERA}, "name": 3}, "needs a name"),
        ({"roles": {"camera": CAMERA}, "seconds": float("nan")}, "seconds and ready must be above 0"),
        ({"roles": {"camera": CAMERA}, "ready": -1}, "seconds and ready must be above 0"),
        ({"roles": {"camera": CAMERA}, 1: 2, "colour": "red"}, "an unknown key 1"),
        ({"roles": {"one": {"workload": ["resnet18"]}}}, "the role one needs a workload"),
        ({"roles": {"camera": 3}}, "a role is a mapping"),
        ({"roles": [dict(CAMERA, name="a"), dict(CAMERA, name="a")]}, "two roles 'a'"),
        ({"roles": {"camera": {"kind": "films"}}}, "unknown kind 'films'"),
        ({"roles": {"camera": dict(CAMERA, colour="red")}}, "the role camera has an unknown key 'colour'"),
        ({"roles": {"camera": dict(CAMERA, rate="fast")}}, "wrong rate: 'fast'"),
        ({"roles": {"camera": dict(CAMERA, rate=0)}}, "rate and bytes must be above 0"),
        ({"roles": {"camera": dict(CAMERA, total=10)}}, "total at least bytes"),
        ({"roles": {"one": {"workload": "resnet19"}}}, "the role one needs a workload"),
        ({"roles": {"one": {"workload": "resnet18", "batch": "many"}}}, "wrong 'batch'"),
        ({"roles": {"one": {"workload": "resnet18", "framework": "caffe"}}}, "no framework 'caffe'"),
        ({"roles": {"one": {"kind": "command", "command": "sleep 1"}}}, "needs a command: a list of words"),
        ({"roles": {"one": {"kind": "command"}}}, "needs a command: a list of words"),
        ({"seconds": "long", "roles": {"camera": CAMERA}}, "wrong seconds: 'long'"),
        ({"speed": 1, "roles": {"camera": CAMERA}}, "the scenario has an unknown key 'speed'"),
    ],
)
def test_what_is_wrong_is_named(content: Any, words: str) -> None:
    with pytest.raises(WrongSpec) as caught:
        scenario_of({"name": "test", **content} if content else content)
    assert words in str(caught.value)


def test_a_file_that_is_no_scenario_is_named(tmp_path: Path) -> None:
    set_elsewhere = b"roles: {a: {kind: recorder}}\nseed: 3"
    for text in (b"roles: [", b"\xff\xfe\xff", b"- 1", b"1: 2", b"roles: {a: {kind: films}}", set_elsewhere):
        path = tmp_path / "mine.yaml"
        path.write_bytes(text)
        with pytest.raises(WrongSpec, match=r"mine\.yaml"):
            load_scenario(path)
    with pytest.raises(WrongSpec, match="cannot be read"):
        load_scenario(tmp_path / "none.yaml")


def test_json_that_is_no_scenario_is_refused() -> None:
    for text in ("", "[]", "{", '{"roles": 3}', '{"roles": {"a": {"kind": "recorder"}}}'):
        with pytest.raises(WrongSpec):
            ScenarioSpec.from_json(text)


def test_requests_wait_their_turn_and_late_ones_are_counted() -> None:
    took = [0.03, 0.0, 0.0, 0.0]
    served = serve(lambda number: time.sleep(took[number]), rate=50, requests=4)
    assert served.answered == 4
    assert 1 <= served.late <= 3, "the first took longer than the time to the next, which had to wait for it"
    assert served.worst >= 0.03
    assert served.unanswered == 0


def test_requests_that_still_wait_at_the_end_are_counted() -> None:
    served = serve(lambda number: time.sleep(0.1), rate=100, seconds=0.25)
    assert 2 <= served.answered <= 3
    assert served.late == served.answered
    assert served.answered + served.unanswered == pytest.approx(25, abs=2)


def test_a_request_that_came_just_before_the_end_is_counted() -> None:
    served = serve(lambda number: time.sleep(0.45), rate=3, seconds=0.4)
    assert (served.answered, served.unanswered) == (1, 1), "the second came after 0.33 s"


def test_requests_must_be_limited() -> None:
    with pytest.raises(ValueError, match="limited"):
        serve(lambda number: None, rate=10)


def test_workloads_wait_at_the_gate_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate.ready_and_wait()  # outside a scenario: at once
    code = "from edgeprof.workloads import gate; gate.ready_and_wait(); print('through')"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ, EDGEPROF_GATE=str(tmp_path))
    )
    deadline = time.monotonic() + 20
    while not gate.is_ready(tmp_path, process.pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.poll() is None
    gate.open_gate(tmp_path)
    output, _ = process.communicate(timeout=20)
    assert output.strip() == b"through"


def test_a_map_of_one_seed_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_map(tmp_path / name, 3_000_000, 5)
    make_map(tmp_path / "other", 3_000_000, 6)
    one, two, other = ((tmp_path / name).read_bytes() for name in ("one", "two", "other"))
    assert len(one) == 3_000_000
    assert one == two != other


def test_why_roles_have_no_cgroups_is_said_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "edgeprof-x"
    (folder / f"role-{LAUNCHER}").mkdir(parents=True)
    (folder / f"role-{LAUNCHER}" / "cgroup.procs").symlink_to("/dev/full")  # refuses what is written, as the kernel may
    monkeypatch.setattr(cgroups, "run_folders", lambda proc: [folder])
    found = cgroups.RoleCgroups()
    assert (found.folders, found.reason) == ([], f"{folder}: No space left on device")


def test_the_cgroups_of_a_run_are_found_in_every_hierarchy(tmp_path: Path) -> None:
    proc, mounts = tmp_path / "proc" / "self", tmp_path / "cgroup"
    proc.mkdir(parents=True)
    for name in ("memory/box/edgeprof-x", "unified/box/edgeprof-x", "cpu/box/edgeprof-x", "pids/box"):
        (mounts / name).mkdir(parents=True)
    (proc / "cgroup").write_text(
        "6:pids:/box\n5:memory:/box/edgeprof-x\n4:cpu,cpuacct:/box/edgeprof-x\n0::/box/edgeprof-x\n"
    )
    (proc / "mountinfo").write_text(
        f"30 20 0:1 / {mounts}/memory rw - cgroup cgroup rw,memory\n"
        f"31 20 0:2 / {mounts}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        f"33 20 0:4 / {mounts}/pids rw - cgroup cgroup rw,pids\n"
        f"32 20 0:3 /box {mounts}/unified/box rw - cgroup2 cgroup2 rw\n"
    )
    found = run_folders(tmp_path / "proc")
    # Not in the scheduler's: it would then share the processors between roles, not between programs.
    assert found == [mounts / "memory/box/edgeprof-x", mounts / "unified/box/edgeprof-x"]
    assert run_folders(tmp_path / "nothing") == []
