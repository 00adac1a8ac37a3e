"""Step times and wall times, exported for pyperf, are read back by pyperf itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeprof import open_run
from edgeprof.dashboards.export import export
from edgeprof.dashboards.export.pyperf import NothingTimed, write_study
from edgeprof.profiler.errors import NotIngested
from edgeprof.profiler.files import CannotWrite
from edgeprof.profiler.statistics.study import CellRun, Study
from tests.synthetic_run import Shape, write_run

pyperf = pytest.importorskip("pyperf", reason="needs pyperf: pip install 'edgeprof[matrix]'")

SMALL = Shape(seconds=5, steps=20, requests=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "run", SMALL)


def test_a_run_is_two_benchmarks_with_its_values(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder)
    suite = pyperf.BenchmarkSuite.load(str(export(run, "pyperf", tmp_path / "a.json")))
    steps, wall = suite.get_benchmark("step_time"), suite.get_benchmark("wall_time")
    table = run.table("steps")
    wanted = ((table["end_ns"] - table["start_ns"]) / 1e9).tolist()
    assert list(steps.get_values()) == pytest.approx(wanted)
    assert list(wall.get_values()) == [run.metrics["wall_time"]["value"]]
    facts = steps.get_metadata()
    assert facts["unit"] == "second"
    assert facts["edgeprof_run"] == run.manifest["run"]["id"]
    assert facts["hostname"] == run.manifest["host"]["hostname"]


def test_a_matrix_has_each_repeat_as_a_run_of_its_cell(folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "no-tables")
    shutil.rmtree(other / "tables")
    cells = [
        CellRun("x", {"batch": "1", "cache": "cold"}, 1, folder, {}, ""),
        CellRun("x", {"batch": "1", "cache": "cold"}, 2, folder, {}, ""),
        CellRun("y", {"batch": "2", "cache": "cold"}, 1, other, {}, ""),
        CellRun("y", {"batch": "2", "cache": "cold"}, 2, None, {}, "exit code 1"),
    ]
    path = write_study(Study("m", {"batch": ["1", "2"], "cache": ["cold"]}, cells), tmp_path / "m.json")
    suite = pyperf.BenchmarkSuite.load(str(path))
    assert {bench.get_name(): (bench.get_nrun(), bench.get_nvalue()) for bench in suite} == {
        "step_time batch=1 cache=cold": (2, 40),
        "wall_time batch=1 cache=cold": (2, 2),
        "wall_time batch=2 cache=cold": (1, 1),
    }


def test_pyperfs_own_commands_read_it(folder: Path, tmp_path: Path) -> None:
    path = str(export(open_run(folder), "pyperf", tmp_path / "a.json"))
    for words in (["stats", path], ["compare_to", path, path], ["check", path]):
        done = subprocess.run([sys.executable, "-m", "pyperf", *words], capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0 or words[0] == "check", done.stderr


def test_what_has_no_times_is_said(folder: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(folder, tmp_path / "bare")
    (bare / "metrics.parquet").unlink()
    with pytest.raises(NotIngested):
        export(open_run(bare), "pyperf", tmp_path / "a.json")
    with pytest.raises(NothingTimed, match="export a run that ended"):
        write_study(Study("m", {}, []), tmp_path / "a.json")
    with pytest.raises(CannotWrite):
        export(open_run(folder), "pyperf", tmp_path / "none" / "a.json")
    assert not (tmp_path / "a.json").exists()
