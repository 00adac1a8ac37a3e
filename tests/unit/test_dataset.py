"""A folder of runs: listing, finding, and SQL that can only read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeprof.profiler.dataset import Entry, find_path, find_run, list_runs, runs_folder
from edgeprof.profiler.errors import AmbiguousRun, NewerSchema, NoRuns, NoSuchRun, QueryFailed
from edgeprof.profiler.query import Dataset
from tests import tiny_run

FIRST, SECOND = "20261121T120000Z-tiny-abc123", "20261121T130000Z-other-abd456"
DAMAGED, NEWER, INTERRUPTED = "20261121T140000Z-x-111111", "20261121T150000Z-x-222222", "20261121T160000Z-x-333333"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good runs, one of each kind of trouble, and things that are no runs."""
    place: Path = tmp_path_factory.mktemp("runs")
    tiny_run.write(place / FIRST)
    changes = {"factors": {"storage": {"device": "disk1", "scheduler": "kyber"}, "model": "vit"}}
    tiny_run.write(place / SECOND, without=("power",), **changes)
    (place / DAMAGED).mkdir()
    (place / DAMAGED / "manifest.json").write_text('{"schema": 1, "run"')
    (place / NEWER).mkdir()
    (place / NEWER / "manifest.json").write_text(json.dumps(tiny_run.manifest(schema=99)))
    (place / INTERRUPTED / "raw" / "procfs").mkdir(parents=True)
    (place / INTERRUPTED / "manifest.partial.json").write_text(json.dumps(tiny_run.manifest()))
    (place / "notes").mkdir()
    (place / "readme.txt").write_text("no run")
    return place


def query(folder: Path, sql: str) -> list[dict[str, object]]:
    """Rows of a query over all runs."""
    with Dataset(list_runs(folder), folder) as dataset:
        rows: list[dict[str, object]] = dataset.query(sql).to_pylist()
        return rows


class TestListing:
    def test_every_run_is_listed_with_its_state(self, folder: Path) -> None:
        found = {entry.id: entry.state for entry in list_runs(folder)}
        assert found == {
            FIRST: "finished",
            SECOND: "finished",
            DAMAGED: "damaged",
            NEWER: "newer",
            INTERRUPTED: "not ingested",
        }

    def test_trouble_is_told_with_what_helps(self, folder: Path) -> None:
        problems = {entry.id: entry.problem or "" for entry in list_runs(folder)}
        assert problems[FIRST] == ""
        assert "edgeprof ingest" in problems[INTERRUPTED]
        assert "upgrade" in problems[NEWER]
        assert "cannot be read" in problems[DAMAGED]

    def test_what_can_be_read_of_a_troubled_run_is_kept(self, folder: Path) -> None:
        entries = {entry.id: entry for entry in list_runs(folder)}
        assert entries[INTERRUPTED].info["name"] == "tiny"
        assert entries[NEWER].info["name"] == "tiny"
        assert entries[DAMAGED].info == {}

    def test_a_folder_that_does_not_exist_has_no_runs(self, tmp_path: Path) -> None:
        assert list_runs(tmp_path / "none") == []

    def test_the_folder_comes_from_the_option_the_variable_or_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EDGEPROF_RUNS", "/srv/runs")
        assert runs_folder("mine") == Path("mine")
        assert runs_folder() == Path("/srv/runs")
        monkeypatch.delenv("EDGEPROF_RUNS")
        assert runs_folder() == Path("edgeprof-runs")


class TestFinding:
    @pytest.mark.parametrize("text", [FIRST, "20261121T12", "abc", "abc123"])
    def test_a_run_is_found_by_parts_of_its_id(self, folder: Path, text: str) -> None:
        assert find_run(text, folder).path == folder / FIRST

    def test_a_path_needs_no_folder(self, folder: Path, tmp_path: Path) -> None:
        assert find_run(str(folder / SECOND), tmp_path).path == folder / SECOND

    def test_last_is_the_newest_whatever_its_state(self, folder: Path) -> None:
        assert find_path("last", folder) == folder / INTERRUPTED

    def test_an_ambiguous_text_lists_the_runs(self, folder: Path) -> None:
        with pytest.raises(AmbiguousRun, match=f"{FIRST}, {SECOND}"):
            find_run("ab", folder)

    @pytest.mark.parametrize("text", ["zzz", "", "tiny"])
    def test_a_text_that_names_nothing_says_how_to_go_on(self, folder: Path, text: str) -> None:
        with pytest.raises(NoSuchRun, match="edgeprof runs"):
            find_run(text, folder)

    def test_last_of_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(NoRuns, match="edgeprof run"):
            find_path("last", tmp_path)

    def test_a_newer_run_is_refused_by_name(self, folder: Path) -> None:
        with pytest.raises(NewerSchema):
            find_run("222", folder)


class TestQuery:
    def test_tables_of_all_runs_bear_the_runs_id(self, folder: Path) -> None:
        rows = query(folder, "select run_id, count(*) as n from steps group by run_id order by run_id")
        assert rows == [{"run_id": FIRST, "n": 4}, {"run_id": SECOND, "n": 4}]

    def test_a_table_that_only_one_run_has(self, folder: Path) -> None:
        assert query(folder, "select distinct run_id from power") == [{"run_id": FIRST}]

    def test_metrics_and_runs_join(self, folder: Path) -> None:
        rows = query(
            folder,
            "select storage_scheduler as scheduler, value from runs join metrics using (run_id)"
            " where metrics.name = 'throughput' order by all",
        )
        assert rows == [{"scheduler": "kyber", "value": 4.0}, {"scheduler": "none", "value": 4.0}]

    def test_runs_has_a_row_for_each_readable_run(self, folder: Path) -> None:
        rows = query(folder, "select run_id, model, command, bound_by from runs order by run_id")
        command = "python train.py"
        assert rows == [
            {"run_id": FIRST, "model": "cnn", "command": command, "bound_by": "input"},
            {"run_id": SECOND, "model": "vit", "command": command, "bound_by": "input"},
        ]

    @pytest.mark.parametrize("sql", ["show tables", "describe steps", "from steps", "with a as (select 1) from a"])
    def test_other_ways_to_read(self, folder: Path, sql: str) -> None:
        assert query(folder, sql)

    def test_columns_that_differ_between_runs_are_united(self, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / FIRST)
        tiny_run.write(tmp_path / SECOND, without=("cgroup",))
        import pyarrow.parquet as pq

        pq.write_table(
            tiny_run.cgroup().drop_columns(["stat_pgfault"]), tmp_path / SECOND / "tables" / "cgroup.parquet"
        )
        rows = query(tmp_path, "select run_id, max(stat_pgfault) as faults from cgroup group by run_id order by run_id")
        assert rows == [{"run_id": FIRST, "faults": 210}, {"run_id": SECOND, "faults": None}]

    def test_a_folder_whose_name_looks_like_a_pattern(self, tmp_path: Path) -> None:
        place = tmp_path / "it's [a] folder*"
        tiny_run.write(place / FIRST)
        assert query(place, "select count(*) as n from steps") == [{"n": 4}]

    def test_a_damaged_table_costs_only_itself(self, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / FIRST)
        broken = tiny_run.write(tmp_path / SECOND) / "tables" / "steps.parquet"
        broken.write_bytes(broken.read_bytes()[:100])
        with Dataset(list_runs(tmp_path), tmp_path) as dataset:
            assert dataset.query("select distinct run_id from steps").to_pylist() == [{"run_id": FIRST}]
            assert dataset.skipped == [str(broken.resolve())]

    def test_a_folder_without_readable_runs(self, tmp_path: Path) -> None:
        with pytest.raises(NoRuns):
            Dataset(list_runs(tmp_path), tmp_path)


class TestReadOnly:
    """The user's SQL must not reach beyond the tables."""

    OUTSIDE = (
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_csv('/etc/passwd')",
        "select * from glob('/etc/*')",
        "select * from read_blob('{folder}/readme.txt')",
        "copy (select 1) to '{target}'",
        "copy steps to '{folder}/x.parquet'",
        "copy (select 1 as a) to '{table}' (format csv, use_tmp_file false)",
        "explain analyze copy (select 1) to '{target}'",
        "attach '{target}'",
        "export database '{target}'",
        "create table t as select 1",
        "drop view steps",
        "insert into runs select * from runs",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "select * from enable_logging('QueryLog', storage = 'file', storage_path = '{target}')",
        "select * from enable_profiling(save_location = '{target}')",
        "call pragma_version()",
        "install httpfs",
        "load httpfs",
        "select * from 'https://example.org/a.parquet'",
        "select * from query('copy (select 1) to ''{target}''')",
        "select 1; select 2",
        "",
        "selec 1",
    )

    @pytest.mark.parametrize("sql", OUTSIDE)
    def test_it_is_refused_and_nothing_changes(self, folder: Path, tmp_path: Path, sql: str) -> None:
        table = folder / FIRST / "tables" / "steps.parquet"
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        text = sql.format(target=tmp_path / "made", folder=folder, table=table)
        with Dataset(list_runs(folder), folder) as dataset:
            with pytest.raises(QueryFailed):
                dataset.query(text)
            assert dataset.query("select count(*) as n from steps").to_pylist() == [{"n": 8}]
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        assert list(tmp_path.iterdir()) == []

    def test_the_lock_holds_without_the_check_of_statements(self, folder: Path, tmp_path: Path) -> None:
        import duckdb

        with Dataset(list_runs(folder), folder) as dataset:
            for sql in (f"copy (select 1) to '{tmp_path / 'made'}'", f"attach '{tmp_path / 'made'}'", "load httpfs"):
                with pytest.raises(duckdb.Error):
                    dataset._connection.execute(sql)
        assert list(tmp_path.iterdir()) == []


def test_half_a_surrogate_pair_in_a_manifest_is_told_as_a_question_mark(tmp_path: Path) -> None:
    tiny_run.write(tmp_path / FIRST, factors={"model": "net \ud800 \U0001f600", "\udfff": 1})
    assert query(tmp_path, 'select model, "?" from runs') == [{"model": "net ? \U0001f600", "?": 1}]


def test_a_short_id_is_the_last_part() -> None:
    assert Entry(Path("runs") / FIRST, "finished", None, {}).short_id == "abc123"


def test_a_copied_run_is_known_by_its_folders_name(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / FIRST, tmp_path / "copy")
    assert query(tmp_path, "select distinct run_id from steps") == [{"run_id": "copy"}]
