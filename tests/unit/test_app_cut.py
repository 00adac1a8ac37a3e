"""A part of a run: its tables are cut to it, its figures show it, and what is kept of them is bounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof.dashboards.app.cut import Columns, Cut, CutData
from edgeprof.dashboards.app.view import View
from edgeprof.dashboards.report.figures.phasing import main_phases
from edgeprof.profiler.run import open_run
from tests.synthetic_run import MAIN_PID, TABLES, Shape, write_run

SHAPE = Shape(seconds=30, steps=120, requests=4000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("cut") / "run", SHAPE)


def data(folder: Path, **cut: object) -> CutData:
    return CutData(open_run(folder), Cut(**cut), Columns())  # type: ignore[arg-type]


def test_an_address_is_read_strictly() -> None:
    view = View.parse("/run?run=x&t=1,2.5&phase=load&process=4200&device=vda&op=read&file=/a/b")
    assert Cut.of(view) == Cut((1.0, 2.5), "load", 4200, "vda", "read", "/a/b")
    for hostile in ("t=2,1", "t=nan,3", "t=1", "process=-1", "process=1e9", "process=٣", "process=99999999999"):
        assert Cut.of(View.parse(f"/run?{hostile}")) == Cut()


@pytest.mark.parametrize("table", TABLES)
def test_without_a_cut_every_table_is_whole(folder: Path, table: str) -> None:
    run = open_run(folder)
    whole = data(folder)
    assert whole.rows(table).equals(run.arrow(table))
    for column in run.arrow(table).column_names:
        kind = run.arrow(table).schema.field(column).type
        size = (
            len(whole.text(table, column).codes) if pa.types.is_dictionary(kind) else len(whole.number(table, column))
        )
        assert size == run.arrow(table).num_rows


def test_requests_are_those_queued_in_the_window(folder: Path) -> None:
    whole, cut = data(folder), data(folder, window=(5.0, 6.0))
    queued = whole.number("block_io", "queued_ns")
    expected = queued[(queued >= 5) & (queued < 6)]
    assert 0 < len(expected) < len(queued)
    assert np.array_equal(cut.number("block_io", "queued_ns"), expected)
    assert cut.rows("block_io").num_rows == len(expected)
    assert cut.window == (5.0, 6.0)
    assert cut.wall_time == whole.wall_time == SHAPE.seconds


def test_samples_reach_two_beyond_each_edge_of_the_window(folder: Path) -> None:
    time = data(folder, window=(5.05, 6.05)).number("system", "time_ns")
    assert time == pytest.approx(np.arange(4.9, 6.25, 0.1))
    assert len(data(folder, window=(5.01, 5.02)).number("system", "time_ns")) == 4


def test_a_window_beside_the_run_has_no_requests_and_says_so(folder: Path) -> None:
    beside = data(folder, window=(500.0, 600.0))
    assert not beside.has("block_io")
    reason, remedy = beside.absence("block_io")
    assert "lies in the part of the run that is chosen" in reason
    assert "whole run" in remedy
    assert not data(folder).damage


def test_a_step_s_own_window_holds_that_step_alone(folder: Path) -> None:
    whole = data(folder)
    start, end = whole.number("steps", "start_ns"), whole.number("steps", "end_ns")
    for i in (0, 7, len(start) - 1):
        rounded = (float(f"{start[i]:.6g}"), float(f"{end[i]:.6g}"))
        cut = data(folder, window=rounded)
        assert cut.number("steps", "start_ns").tolist() == [start[i]]


def test_phases_are_clipped_to_the_window_so_that_their_sums_are_its(folder: Path) -> None:
    cut = data(folder, window=(5.0, 6.0))
    start, end = cut.number("phases", "start_ns"), cut.number("phases", "end_ns")
    assert start.min() == 5.0
    assert end.max() == 6.0
    inner = cut.number("phases", "depth") == 1
    assert (end - start)[inner].sum() == pytest.approx(1.0)


def test_a_phase_chooses_requests_by_their_column_else_by_their_time(folder: Path, tmp_path: Path) -> None:
    by_time = data(folder, phase="load")
    assert 0 < by_time.rows("block_io").num_rows < SHAPE.requests
    path = write_run(tmp_path / "run", SHAPE) / "tables" / "block_io.parquet"
    table = pq.read_table(path)
    told = pa.array(["load", "forward"] * (table.num_rows // 2)).dictionary_encode()
    pq.write_table(table.set_column(table.column_names.index("phase"), "phase", told), path)
    assert data(tmp_path / "run", phase="load").rows("block_io").num_rows == table.num_rows // 2
    assert data(tmp_path / "run", phase="load").rows("system").num_rows == len(SHAPE.ticks)


def test_process_device_and_operation_choose_rows(folder: Path) -> None:
    assert set(data(folder, process=MAIN_PID).number("block_io", "pid")) == {MAIN_PID}
    assert set(data(folder, process=MAIN_PID).number("process", "pid")) == {MAIN_PID}
    assert data(folder, op="write").text("block_io", "op").present() == ["write"]
    assert data(folder, device="mmcblk0").text("disk", "device").present() == ["mmcblk0"]
    assert not data(folder, device="mmcblk0").has("block_io")
    assert data(folder, process=1).rows("phases").num_rows == data(folder).rows("phases").num_rows


def test_columns_are_read_once_for_all_cuts_and_bounded(folder: Path) -> None:
    columns = Columns()
    first = CutData(open_run(folder), Cut(), columns).number("block_io", "sector")
    assert CutData(open_run(folder), Cut(), columns).number("block_io", "sector") is first
    before = columns.weight
    cut = CutData(open_run(folder), Cut(window=(1.0, 2.0)), columns).number("block_io", "sector")
    assert len(cut) < len(first)
    assert before < columns.weight < 2 * before + (1 << 20)
    small = Columns(10_000)
    for _ in range(2):
        assert len(CutData(open_run(folder), Cut(), small).number("block_io", "sector")) == SHAPE.requests
    assert small.weight <= 10_000


def test_a_table_that_was_made_again_is_read_again(folder: Path, tmp_path: Path) -> None:
    run, columns = write_run(tmp_path / "run", SHAPE), Columns()
    assert CutData(open_run(run), Cut(), columns).rows("steps").num_rows == 120
    assert len(CutData(open_run(run), Cut(), columns).number("steps", "start_ns")) == 120
    write_run(run, Shape(seconds=30, steps=60, requests=100))
    assert len(CutData(open_run(run), Cut(), columns).number("steps", "start_ns")) == 60


def test_a_table_that_cannot_be_read_is_absent_with_its_reason_each_time(tmp_path: Path) -> None:
    run, columns = write_run(tmp_path / "run", SHAPE), Columns()
    (run / "tables" / "steps.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    for cut in (Cut(), Cut(window=(1.0, 2.0))):
        found = CutData(open_run(run), cut, columns)
        assert not found.has("steps")
        reason, remedy = found.absence("steps")
        assert "cannot be read" in reason
        assert "edgeprof ingest" in remedy


def test_an_interrupted_run_has_its_start_from_its_tables(tmp_path: Path) -> None:
    changes = {"run": {"start_ns": None, "end_ns": None, "wall_time": None, "status": "interrupted"}}
    run = write_run(tmp_path / "run", SHAPE, manifest=changes)
    found = data(run, window=(1.0, 2.0))
    assert found.wall_time == pytest.approx(SHAPE.seconds, abs=0.2)
    assert found.has("block_io")


def test_the_main_thread_is_the_whole_run_s_and_not_the_window_s(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", SHAPE) / "tables" / "phases.parquet"
    of_main = (data(tmp_path / "run").number("phases", "end_ns") < 20).tolist()  # the later ones become a worker's
    table = pq.read_table(path)
    for name, values in (("main", of_main), ("tid", [MAIN_PID + (not mine) for mine in of_main])):
        place = table.column_names.index(name)
        table = table.set_column(place, table.schema.field(name), pa.array(values, table.schema.field(name).type))
    pq.write_table(table, path)
    assert main_phases(data(tmp_path / "run", window=(5.0, 6.0))) is not None
    later = data(tmp_path / "run", window=(25.0, 26.0))
    assert later.has("phases")
    assert main_phases(later) is None
