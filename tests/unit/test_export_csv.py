"""A run exported as CSV holds every row, its nulls and its units."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edgeprof import open_run
from edgeprof.dashboards.export import FORMATS, DamagedTable, UnknownFormat, export
from edgeprof.profiler.errors import NotIngested
from edgeprof.profiler.files import CannotWrite
from tests.synthetic_run import TABLES, Shape, write_run

SMALL = Shape(seconds=5, steps=20, requests=300)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_table_is_a_file_with_every_row(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", SMALL))
    folder = export(run, "csv", tmp_path / "deep" / "csv")
    assert {path.name for path in folder.iterdir()} == {f"{name}.csv" for name in (*TABLES, "metrics", "columns")}
    for name in TABLES:
        table = pq.read_table(run.path / "tables" / f"{name}.parquet")
        rows = read(folder / f"{name}.csv")
        assert len(rows) == table.num_rows
        assert list(rows[0]) == table.column_names


def test_values_nulls_and_text_come_through(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    path = folder / "tables" / "block_io.parquet"
    table = pq.read_table(path)
    names = ['a,"b"\nc'] * table.num_rows
    pq.write_table(table.set_column(table.column_names.index("comm"), "comm", [names]), path)
    rows = read(export(open_run(folder), "csv", tmp_path / "csv") / "block_io.csv")
    expected = table.to_pylist()
    assert [row["inserted_ns"] for row in rows] == [""] * len(rows)
    assert [int(row["queued_ns"]) for row in rows] == [row["queued_ns"] for row in expected]
    assert {row["comm"] for row in rows} == {'a,"b"\nc'}


def test_text_that_a_spreadsheet_would_compute_is_marked_as_text(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL, only=("block_io", "phases"))
    for name, column in (("block_io", "comm"), ("phases", "name")):
        path = folder / "tables" / f"{name}.parquet"
        table = pq.read_table(path)
        texts = ["=cmd|' /C calc'!A0", "-2+3", "-5", None, "plain"]
        odd = pa.array((texts * table.num_rows)[: table.num_rows]).dictionary_encode()
        table = table.set_column(table.column_names.index(column), column, odd)
        pq.write_table(table.append_column("@odd", odd.cast(pa.binary())), path)
    export(open_run(folder), "csv", tmp_path / "csv")
    for name, column in (("block_io", "comm"), ("block_io", "'@odd"), ("phases", "name")):
        rows = read(tmp_path / "csv" / f"{name}.csv")
        assert [row[column] for row in rows[:5]] == ["'=cmd|' /C calc'!A0", "'-2+3", "-5", "", "plain"]
    assert "'@odd" in {row["column"] for row in read(tmp_path / "csv" / "columns.csv")}


def test_units_stand_beside_the_tables(tmp_path: Path) -> None:
    folder = export(open_run(write_run(tmp_path / "run", SMALL)), "csv", tmp_path / "csv")
    units = {(row["table"], row["column"]): row["unit"] for row in read(folder / "columns.csv")}
    assert units["block_io", "queued_ns"] == "ns"
    assert units["power", "power"] == "W"
    assert units["system", "meminfo_MemTotal"] == "bytes"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_run_without_tables_says_what_to_do(tmp_path: Path, name: str) -> None:
    run = open_run(write_run(tmp_path / "run", SMALL, only=(), metrics=False))
    with pytest.raises(NotIngested, match="edgeprof ingest"):
        export(run, name, tmp_path / "out")


@pytest.mark.parametrize("name", sorted({*FORMATS} - {"openmetrics"}))  # which reads no table but the metrics
def test_a_damaged_table_is_one_sentence(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    for table in ("phases", "steps"):  # each format reads at least one of them
        path = folder / "tables" / f"{table}.parquet"
        path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DamagedTable, match="make the tables again"):
        export(open_run(folder), name, tmp_path / "out")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_place_that_cannot_be_written_to_is_one_sentence(tmp_path: Path, name: str) -> None:
    run = open_run(write_run(tmp_path / "run", SMALL))
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot be written"):
        export(run, name, tmp_path / "file" / "out")


def test_an_unknown_format_names_those_there_are(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", SMALL, only=("steps",)))
    with pytest.raises(UnknownFormat, match="csv, openmetrics, perfetto"):
        export(run, "xml", tmp_path / "out")
