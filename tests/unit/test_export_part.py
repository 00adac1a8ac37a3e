"""A part of a run holds what overlaps it, whole, and nothing else."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from edgeprof import open_run
from edgeprof.cli.main import cli
from edgeprof.dashboards.export import CannotCut, EmptyPart, NoSuchPhase, Part, export
from edgeprof.dashboards.export.part import Spans
from tests.synthetic_run import START_NS, Shape, write_run

SMALL = Shape(seconds=5, steps=20, requests=300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("part") / "run", SMALL)


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(folder / "tables" / f"{table}.parquet").to_pylist()
    return found


def slices(folder: Path, part: Part, target: Path, category: str) -> set[str]:
    """Begin of each slice of a category, as written."""
    events = json.loads(export(open_run(folder), "perfetto", target, part).read_text(), parse_float=str)["traceEvents"]
    found = [event for event in events if event.get("cat") == category and event["ph"] in "Xb"]
    return {event["ts"].replace(".", "") for event in found if event["name"] != "in the device"}


def test_a_window_of_a_trace_holds_the_slices_that_overlap_it(folder: Path, tmp_path: Path) -> None:
    begin, end = START_NS + 1_000_000_000, START_NS + 2_000_000_000
    for table, category, first, last in (
        ("phases", "phase", "start_ns", "end_ns"),
        ("block_io", "block", "queued_ns", "completed_ns"),
    ):
        wanted = {
            str(row[first]) for row in rows(folder, table) if row[first] <= end and (row[last] or math.inf) >= begin
        }
        found = slices(folder, Part(1.0, 2.0), tmp_path / "t.json", category)
        assert found == wanted
        assert 0 < len(found) < len(rows(folder, table))


def test_counters_of_a_window_lie_in_it(folder: Path, tmp_path: Path) -> None:
    events = json.loads(export(open_run(folder), "perfetto", tmp_path / "t.json", Part(1.0, 2.0)).read_text())
    times = [event["ts"] - START_NS / 1000 for event in events["traceEvents"] if event["ph"] == "C"]
    assert times
    assert all(1e6 - 1 <= time <= 2e6 + 1 for time in times)


def test_a_phase_holds_the_requests_that_overlap_it(folder: Path, tmp_path: Path) -> None:
    loads = [(row["start_ns"], row["end_ns"]) for row in rows(folder, "phases") if row["name"] == "load"]
    requests = [(row["queued_ns"], row["completed_ns"] or math.inf) for row in rows(folder, "block_io")]
    wanted = {str(q) for q, c in requests if any(q <= end and c >= begin for begin, end in loads)}
    found = slices(folder, Part(phase="load"), tmp_path / "t.json", "block")
    assert found == wanted
    assert 0 < len(found) < len(requests)


def test_a_phase_and_a_window_hold_what_lies_in_both(folder: Path, tmp_path: Path) -> None:
    both = slices(folder, Part(1.0, 2.0, "load"), tmp_path / "t.json", "block")
    assert both
    assert both <= slices(folder, Part(1.0, 2.0), tmp_path / "t.json", "block")
    assert both <= slices(folder, Part(phase="load"), tmp_path / "t.json", "block")


def test_tables_are_cut_as_the_trace_is(folder: Path, tmp_path: Path) -> None:
    run = open_run(folder)
    with (export(run, "csv", tmp_path / "csv", Part(1.0, 2.0)) / "cgroup.csv").open() as file:
        times = [int(row["time_ns"]) for row in csv.DictReader(file)]
    assert times == [row["time_ns"] for row in rows(folder, "cgroup") if 1e9 <= row["time_ns"] - START_NS <= 2e9]
    path = export(run, "arrow", tmp_path / "arrow", Part(1.0, 2.0)) / "block_io.arrow"
    queued = pa.ipc.open_file(path).read_all()["queued_ns"].to_pylist()
    assert {str(value) for value in queued} == slices(folder, Part(1.0, 2.0), tmp_path / "t.json", "block")


def test_open_ends_reach_to_the_runs_ends(folder: Path, tmp_path: Path) -> None:
    before = slices(folder, Part(end=2.0), tmp_path / "t.json", "step")
    after = slices(folder, Part(begin=2.0), tmp_path / "t.json", "step")
    assert before | after == {str(row["start_ns"]) for row in rows(folder, "steps")}
    assert len(before & after) <= 1  # the step at 2 s


def test_rows_without_a_time_lie_nowhere_and_those_without_an_end_last() -> None:
    spans = Spans(np.array([100]), np.array([200]))
    table = pa.table(
        {
            "queued_ns": pa.array([None, 50, None, 50, 250, None], pa.int64()),
            "issued_ns": pa.array([None, 60, 150, 60, 260, None], pa.int64()),
            "completed_ns": pa.array([None, None, 160, 70, 300, 120], pa.int64()),
            "row": range(6),
        }
    )
    assert spans.rows(table)["row"].to_pylist() == [1, 2, 5]
    assert spans.rows(table.select(["row"])).num_rows == 6


def test_spans_that_lie_apart_leave_out_what_is_between_them() -> None:
    spans = Spans(np.array([10, 30]), np.array([20, 40]))
    assert spans.hold(np.array([5, 10, 20, 25, 35, 41])).tolist() == [False, True, True, False, True, False]


@pytest.mark.parametrize("part", [Part(2.0, 1.0), Part(1.0, 1.0), Part(math.nan), Part(1.0, math.nan)])
def test_a_window_without_length_is_one_sentence(folder: Path, tmp_path: Path, part: Part) -> None:
    with pytest.raises(EmptyPart, match="holds nothing"):
        export(open_run(folder), "perfetto", tmp_path / "t.json", part)
    assert not (tmp_path / "t.json").exists()


def test_a_window_beyond_all_numbers_is_the_rest(folder: Path, tmp_path: Path) -> None:
    everything = slices(folder, Part(-math.inf, 1e300), tmp_path / "t.json", "step")
    assert len(everything) == len(rows(folder, "steps"))


def test_an_unknown_phase_names_those_there_are(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSuchPhase, match=r"no phase 'laod'; it has: .*load"):
        export(open_run(folder), "csv", tmp_path / "csv", Part(phase="laod"))
    bare = open_run(write_run(tmp_path / "bare", SMALL, only=("cgroup",)))
    with pytest.raises(NoSuchPhase, match="it recorded none"):
        export(bare, "arrow", tmp_path / "arrow", Part(phase="load"))


@pytest.mark.parametrize("name", ["pyperf", "openmetrics"])
def test_figures_over_a_run_cannot_be_cut(folder: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(CannotCut, match="perfetto, csv, arrow"):
        export(open_run(folder), name, tmp_path / "out", Part(begin=1.0))


def test_the_command_cuts(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "t.json"
    words = ["export", str(folder), "--format", "perfetto", "--from", "1", "--to", "2", "--phase", "load"]
    done = CliRunner().invoke(cli, [*words, "-o", str(target)])
    assert done.exit_code == 0, done.output
    assert (
        target.read_text() == export(open_run(folder), "perfetto", tmp_path / "b.json", Part(1, 2, "load")).read_text()
    )
    refused = CliRunner().invoke(cli, ["export", str(folder.parent), "--format", "openmetrics", "--phase", "load"])
    assert isinstance(refused.exception, CannotCut)
