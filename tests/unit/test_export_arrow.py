"""A run exported as Arrow files holds every table as it is, units included."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from edgeprof import open_run
from edgeprof.dashboards.export import export
from tests.synthetic_run import TABLES, Shape, write_run

SMALL = Shape(seconds=5, steps=20, requests=300)


def test_every_table_comes_through_unchanged(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL)
    written = export(open_run(folder), "arrow", tmp_path / "deep" / "arrow")
    assert {path.name for path in written.iterdir()} == {f"{name}.arrow" for name in (*TABLES, "metrics")}
    for name in TABLES:
        table = pa.ipc.open_file(written / f"{name}.arrow").read_all()
        assert table.equals(pq.read_table(folder / "tables" / f"{name}.parquet"))
        assert [item.metadata for item in table.schema] == [
            item.metadata for item in pq.read_schema(folder / "tables" / f"{name}.parquet")
        ]


def test_what_reads_feather_reads_it(tmp_path: Path) -> None:
    folder = export(open_run(write_run(tmp_path / "run", SMALL)), "arrow", tmp_path / "arrow")
    assert feather.read_table(folder / "steps.arrow").num_rows == SMALL.steps


def test_a_table_whose_pieces_have_dictionaries_of_their_own_is_one_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", SMALL, only=("steps",))
    names = [f"rail {number % 7 + number // 100}" for number in range(1000)]
    table = pa.table({"time_ns": range(1000), "rail": pa.array(names).dictionary_encode()})
    pq.write_table(table, folder / "tables" / "power.parquet", row_group_size=100)
    written = export(open_run(folder), "arrow", tmp_path / "arrow")
    assert pa.ipc.open_file(written / "power.arrow").read_all()["rail"].to_pylist() == names
