"""The state of a matrix survives what may happen to a file, and tells how far it is."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.axes import Axis
from edgeprof.profiler.matrix.errors import MatrixBusy, NoMatrix
from edgeprof.profiler.matrix.estimate import ASSUMED_SECONDS, Estimator
from edgeprof.profiler.matrix.folder import MatrixFolder, is_matrix
from edgeprof.profiler.matrix.keep import keep
from edgeprof.profiler.matrix.plan import Plan, make_plan
from edgeprof.profiler.matrix.results import study
from edgeprof.profiler.matrix.spec import MatrixSpec
from edgeprof.profiler.matrix.state import Ended, Progress, StateFile, plan_record, read_state, same_plan
from edgeprof.profiler.matrix.tell import plan_told, status_told
from edgeprof.profiler.run import open_run
from tests.synthetic_run import Shape, write_run


def plan_of(**more: Any) -> Plan:
    axes = {"word": ("a", "b")}
    spec = MatrixSpec(Path("m.yaml"), "m", ("echo", "{word}"), axes, {}, {"word": Axis("word")}, repeats=2, **more)
    return make_plan(spec, lambda words: None)


PLAN = plan_of()
A, B = (cell.id for cell in PLAN.cells)


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    file = StateFile(tmp_path)
    file.plan(plan_record(PLAN))
    return file


def test_what_is_written_is_read(tmp_path: Path, state: StateFile) -> None:
    state.started((A, 1))
    state.process((A, 1), 12, 34)
    state.ended((A, 1), Ended("run-a", 0, 3.0, 100))
    state.started((B, 1))
    state.ended((B, 1), Ended("run-b", 2, 1.0, 0, failed="exit code 2: no"))
    state.started((A, 2))
    state.process((A, 2), 56, 78)
    state.started((B, 2))
    state.ended((B, 2), Ended("run-c", 130, 0.5, 0, interrupted=True))
    found = read_state(tmp_path)
    assert found.ended == {(A, 1): Ended("run-a", 0, 3.0, 100), (B, 1): Ended("run-b", 2, 1.0, 0, "exit code 2: no")}
    assert found.open == {(A, 2): {"pid": 56, "start_time": 78}}
    assert found.seconds == 4.5
    assert [found.counts(cell) for cell in (A, B)] == [(1, 0, 1), (0, 1, 1)]
    assert same_plan(found.plan, plan_record(PLAN))
    assert not same_plan(found.plan, plan_record(plan_of(seed=3)))


def test_a_line_that_a_crash_cut_off_costs_nothing_else(tmp_path: Path, state: StateFile) -> None:
    state.ended((A, 1), Ended("run-a", 0, 3.0, 100))
    state.close()
    path = tmp_path / "state.jsonl"
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole + b'{"event": "started", "cell": "x", "repeat": 1}\n'[:size])
        later = StateFile(tmp_path)
        later.ended((B, 1), Ended("run-b", 0, 1.0, 50))
        later.close()
        assert set(read_state(tmp_path).ended) == {(A, 1), (B, 1)}
    path.write_bytes(whole[:-20])
    assert read_state(tmp_path).ended == {}


@pytest.mark.parametrize(
    "line",
    [b"\xff", b"[]", b"3", b'{"event": "ended"}', b'{"event": "ended", "cell": "a", "repeat": 1, "end": {"x": 1}}'],
)
def test_foreign_lines_are_passed_over(tmp_path: Path, state: StateFile, line: bytes) -> None:
    with (tmp_path / "state.jsonl").open("ab") as file:
        file.write(line + b"\n")
    assert read_state(tmp_path).ended == {}


@pytest.mark.parametrize("run", ["/any/where", "../run", "..", ".", "deep/run", "run/", 5])
def test_a_capture_directory_is_a_name_and_no_path(tmp_path: Path, state: StateFile, run: Any) -> None:
    state.ended((A, 1), Ended(run, 0, 3.0, 100))
    state.ended((A, 2), Ended("..run", 0, 3.0, 100))
    assert set(read_state(tmp_path).ended) == {(A, 2)}


def test_a_process_of_another_boot_is_not_looked_for(tmp_path: Path, state: StateFile) -> None:
    entry = {"event": "process", "cell": A, "repeat": 1, "pid": 1, "start_time": 2, "boot_id": "another"}
    with (tmp_path / "state.jsonl").open("a") as file:
        file.write(json.dumps({"event": "started", "cell": A, "repeat": 1}) + "\n" + json.dumps(entry) + "\n")
    assert read_state(tmp_path).open == {(A, 1): {}}


def test_a_folder_without_a_matrix_is_said(tmp_path: Path) -> None:
    (tmp_path / "state.jsonl").touch()
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(NoMatrix, match="holds no matrix; make one with `edgeprof matrix run"):
            read_state(path)
    assert is_matrix(tmp_path)
    assert not is_matrix(tmp_path / "none")


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    busy = pytest.raises(MatrixBusy, match=f"by process {os.getpid()} already")
    with MatrixFolder(tmp_path).locked(), busy, MatrixFolder(tmp_path).locked():
        pass
    with MatrixFolder(tmp_path).locked():
        pass


def test_a_folder_that_cannot_be_locked_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(EdgeprofError, match="lock: Is a directory; name another folder"),
        MatrixFolder(tmp_path).locked(),
    ):
        pass


def test_the_scratch_folder_of_a_virtual_machine_is_no_capture(tmp_path: Path) -> None:
    folder = MatrixFolder(tmp_path)
    folder.make()
    (folder.runs / ".edgeprof-vm-1").mkdir()
    (folder.runs / "20261121T120000Z-x-1").mkdir()
    assert folder.captures() == {"20261121T120000Z-x-1"}


def test_estimates_come_from_the_cell_then_from_its_like_then_from_a_guess() -> None:
    progress = Progress()
    estimator = Estimator(PLAN.options(), progress)
    guess = estimator.all()[A]
    assert (guess.seconds, guess.source) == (ASSUMED_SECONDS["bare"], "assumed")
    for key, end in {
        (A, 1): Ended("r", 0, 4.0, 10),
        (A, 2): Ended("r", 0, 6.0, 30),
        (B, 1): Ended("r", 1, 99.0, 0, failed="no"),
    }.items():
        progress.take(key, end)
        estimator.take(key[0], end)
    assert estimator.all() == Estimator(PLAN.options(), progress).all()
    first, second = estimator.all()[A], estimator.all()[B]
    assert (first.seconds, first.bytes, first.source) == (5, 20, "measured")
    assert (second.seconds, second.source) == (5, "similar")
    told = plan_told(PLAN, estimator, MatrixFolder(Path("f")))
    assert (told["runs"], told["seconds"], told["bytes"]) == (4, 20, 80)
    assert told["cells"][0]["command"] == ["edgeprof", "run", "--", "echo", "a"]


def test_status_counts_and_foretells(tmp_path: Path, state: StateFile) -> None:
    assert status_told(MatrixFolder(tmp_path))["seconds_left"] == 4 * ASSUMED_SECONDS["bare"]
    state.ended((A, 1), Ended("run-a", 0, 3.0, 100))
    state.ended((B, 1), Ended("run-b", 2, 1.0, 0, failed="exit code 2: no"))
    told = status_told(MatrixFolder(tmp_path))
    assert (told["done"], told["failed"], told["left"], told["seconds_left"]) == (1, 1, 2, 6.0)
    assert [cell["problem"] for cell in told["cells"]] == [None, "exit code 2: no"]


def test_the_study_has_every_run_that_ended(tmp_path: Path, state: StateFile) -> None:
    write_run(tmp_path / "runs" / "run-a", Shape(seconds=5, steps=20, requests=300))
    state.ended((A, 1), Ended("run-a", 0, 3.0, 100))
    state.ended((A, 2), Ended("gone", 0, 3.0, 100))
    state.ended((B, 1), Ended("run-b", 2, 1.0, 0, failed="exit code 2: no"))
    found = study(tmp_path)
    assert (found.name, found.axes, found.baseline) == ("m", {"word": ["a", "b"]}, {})
    assert [(run.cell_id, run.levels, run.repeat) for run in found.cells] == [
        (A, {"word": "a"}, 1),
        (B, {"word": "b"}, 1),
        (A, {"word": "a"}, 2),
    ]
    good, failed, gone = found.cells
    wanted = open_run(tmp_path / "runs" / "run-a").metrics["wall_time"]["value"]
    assert (good.metrics["wall_time"], good.failed, good.run_path) == (wanted, "", tmp_path / "runs" / "run-a")
    assert (failed.metrics, failed.failed, failed.run_path) == ({}, "exit code 2: no", None)
    assert (gone.metrics, gone.failed) == ({}, "its capture directory is gone")


def test_a_capture_directory_that_a_link_leads_out_is_not_read_within_a_folder(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, state: StateFile
) -> None:
    outside = write_run(tmp_path_factory.mktemp("outside") / "run-a", Shape(seconds=5, steps=20, requests=300))
    write_run(tmp_path / "kept" / "run-b", Shape(seconds=5, steps=20, requests=300))
    (tmp_path / "runs").mkdir()
    for number, path in enumerate((outside, tmp_path / "kept" / "run-b"), 1):
        (tmp_path / "runs" / path.name).symlink_to(path)
        state.ended((A, number), Ended(path.name, 0, 3.0, 100))
    assert [bool(run.metrics) for run in study(tmp_path).cells] == [True, True]
    first, second = study(tmp_path, within=tmp_path).cells
    assert (first.metrics, first.run_path) == ({}, None)
    assert "a link that leads out of the folder" in first.failed
    assert second.metrics


@pytest.mark.parametrize(("what", "left"), [("raw", {"raw", "tables"}), ("tables", {"tables"}), ("metrics", set())])
def test_what_is_not_kept_is_dropped_and_the_manifest_says_so(tmp_path: Path, what: str, left: set[str]) -> None:
    path = write_run(tmp_path / "run", Shape(seconds=5, steps=20, requests=300))
    (path / "raw").mkdir(exist_ok=True)
    keep(path, what)
    assert {item.name for item in path.iterdir() if item.is_dir()} == left
    notes = open_run(path).manifest.get("notes") or []
    assert any(f"the matrix kept {what} only" in note for note in notes) == (what != "raw")
    assert open_run(path).metrics["wall_time"]["value"] is not None
    keep(path, what)
    assert (open_run(path).manifest.get("notes") or []) == notes, "nothing is dropped, or said, twice"
