"""Folders of runs on a real S3-compatible server (OpenStack Swift, on loopback), and on real Dask workers.

What DuckDB and Dask tell of runs at an address is held against what DuckDB tells of the same runs on this disk.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import edgeprof
from edgeprof.cli.main import main
from edgeprof.profiler.dataset import list_runs, runs_folder
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.query import Dataset
from edgeprof.profiler.remote_data.address import RemoteError
from edgeprof.profiler.remote_data.aggregate import aggregate
from edgeprof.profiler.remote_data.push import push
from edgeprof.profiler.remote_data.tasks import DaskError, Where, each
from edgeprof.profiler.run import open_run
from tests import tiny_run
from tests.helpers import Places
from tests.s3_server import S3, missing_s3, serving

pytestmark = pytest.mark.skipif(missing_s3() is not None, reason=str(missing_s3()))

MODELS = ("cnn", "mlp", "transformer")
WITHOUT = ("counters", "cgroup_io", "power", "thermal", "system", "phases")
"""Tables that the made runs do not need."""
BUCKET = "s3://runs"
ALL = f"{BUCKET}/all"
REAL = "real"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """The server, and this process's environment as its user's."""
    with serving(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in server.environment().items():
            patch.setenv(name, value)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        bucket().mkdir("runs")
        yield server


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """A Dask scheduler with two workers in processes of their own."""
    import dask
    import distributed

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A captured run, and four others whose requests differ."""
    places = Places(tmp_path_factory.mktemp("captured"))
    program = "import sys; sum(len(open(name, 'rb').read()) for name in sys.argv[1:])"
    done = places.run("--name", REAL, "--", sys.executable, "-c", program, __file__)
    assert done.returncode == 0, done.stderr
    for number in range(4):
        write_run(places.runs / f"20261121T12000{number}Z-made-{number:06}", number)
    return places.runs


@pytest.fixture(scope="module")
def pushed(s3: S3, folder: Path) -> str:
    """The address of the same runs on the server."""
    for entry in list_runs(folder):
        push(entry.path, ALL)
    return ALL


def bucket() -> Any:
    """The server's content, as any client sees it."""
    from edgeprof.profiler.remote_data.address import open_address

    return open_address(BUCKET).fs


def write_run(path: Path, number: int, requests: int = 3000) -> Path:
    """A run of one of the models with random block requests, among them unknown values and sums beyond 64 bits."""
    random = np.random.default_rng(number)
    tiny_run.write(
        path, WITHOUT, factors={"model": MODELS[number % 3]}, run={"id": path.name, "wall_time": 10.0 + number}
    )
    queued = tiny_run.START_NS + np.sort(random.integers(0, 10**10, requests))
    table = {
        "queued_ns": queued,
        "issued_ns": queued + 1000,
        "completed_ns": pa.array(queued + random.integers(10**5, 10**7, requests), mask=random.random(requests) < 0.01),
        "dev": np.full(requests, 259 << 20),
        "device": np.full(requests, "nvme0n1"),
        "sector": pa.array(random.integers(0, 1 << 54, requests), mask=random.random(requests) < 0.1),
        "bytes": random.integers(1, 256, requests) * 4096,
        "op": random.choice(["read", "write", "discard"], requests),
        "owner": np.full(requests, "run"),
        "error": np.zeros(requests, np.int32),
    }
    pq.write_table(tiny_run.schema.table("block_io", table), path / "tables" / "block_io.parquet", row_group_size=700)
    return path


def answers(folder: Path | str, statements: Sequence[str]) -> list[list[dict[str, Any]]]:
    """What DuckDB tells of a folder."""
    place = runs_folder(folder)
    with Dataset(list_runs(place), place) as dataset:
        rows = [dataset.query(sql).to_pylist() for sql in statements]
        assert dataset.skipped == []
    return rows


def answer(folder: Path | str, sql: str) -> list[dict[str, Any]]:
    """The same of one statement."""
    return answers(folder, [sql])[0]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether rows are equal; sums of floats may differ in their last digits, by the order in which they were added."""

    def equal(one: Any, other: Any) -> bool:
        if isinstance(one, float) and isinstance(other, float):
            return math.isclose(one, other, rel_tol=1e-9)
        return bool(one == other)

    return len(found) == len(expected) and all(
        row.keys() == other.keys() and all(equal(row[name], other[name]) for name in row)
        for row, other in zip(found, expected, strict=True)
    )


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one sentence of a command that fails."""
    assert main(words) == 120
    caught = capsys.readouterr()
    assert caught.err.startswith("edgeprof: ")
    assert caught.err.count("\n") == 1
    assert "Traceback" not in caught.err
    return caught.err


class TestPush:
    def test_all_but_raw_is_there_and_is_not_sent_twice(self, pushed: str, folder: Path) -> None:
        (real,) = (entry.path for entry in list_runs(folder) if REAL in entry.id)
        there = bucket().find(f"{pushed}/{real.name}")
        start = len(f"runs/all/{real.name}/")
        local = {str(path.relative_to(real)) for path in real.rglob("*") if path.is_file()}
        assert any(name.startswith("raw/") for name in local)
        assert {name[start:] for name in there} == {name for name in local if "raw/" not in name} | {"files.json"}
        for name in there:
            if not name.endswith("files.json"):
                assert bucket().cat_file(name) == (real / name[start:]).read_bytes()
        again = push(real, pushed)
        assert (again.sent_files, again.files) == (0, len(there) - 1)

    def test_one_that_was_cut_goes_on(self, s3: S3, tmp_path: Path) -> None:
        run = write_run(tmp_path / "20261121T130000Z-cut-aaaaaa", 1)
        for number in range(20):
            (run / "raw" / "procfs").mkdir(parents=True, exist_ok=True)
            (run / "raw" / "procfs" / f"{number}.bin").write_bytes(os.urandom(100))
        address = f"{BUCKET}/cut"

        def cut(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            push(run, address, raw=True, tell=cut)
        (entry,) = list_runs(runs_folder(address))
        assert entry.state == "being pushed"
        assert entry.problem is not None
        assert "dataset push" in entry.problem
        there = {name for name in bucket().find(address) if not name.endswith("files.json")}
        assert 0 < len(there) < 20
        done = push(run, address, raw=True)
        assert done.sent_files == done.files - len(there)
        (entry,) = list_runs(runs_folder(address))
        assert entry.state == "finished"
        assert bucket().cat_file(f"{address}/{run.name}/raw/procfs/7.bin") == (run / "raw/procfs/7.bin").read_bytes()

    def test_what_changed_is_sent_and_read_anew(self, s3: S3, tmp_path: Path) -> None:
        run = write_run(tmp_path / "20261121T130000Z-anew-aaaaaa", 1)
        address = f"{BUCKET}/anew"
        push(run, address)
        assert open_run(f"{address}/{run.name}").arrow("block_io").num_rows == 3000
        shutil.rmtree(run)
        write_run(run, 2, requests=10)
        (run / "tables" / "process.parquet").unlink()
        done = push(run, address)
        assert 0 < done.sent_files < done.files
        found = open_run(f"{address}/{run.name}")
        assert found.arrow("block_io").num_rows == 10
        assert found.manifest["factors"]["model"] == MODELS[2]
        assert not found.has("process")

    def test_a_run_without_tables_is_refused(self, s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        run = tiny_run.write(tmp_path / "20261121T130000Z-raw-aaaaaa")
        shutil.rmtree(run / "tables")
        assert "edgeprof ingest" in told(capsys, "dataset", "push", str(run), ALL)


class TestRead:
    def test_duckdb_tells_the_same(self, pushed: str, folder: Path) -> None:
        statements = (
            "select * exclude (path) from runs order by all",
            "select * from metrics order by all",
            "select model, op, count(*) n, sum(bytes) bytes, avg(completed_ns - queued_ns) took, max(sector) last"
            " from block_io join runs using (run_id) group by all order by all",
            "show tables",
            "describe process",
        )
        for sql, found, expected in zip(
            statements, answers(pushed, statements), answers(folder, statements), strict=True
        ):
            assert len(expected) > 4
            assert same(found, expected), sql

    def test_sql_reads_no_other_objects(self, pushed: str, s3: S3) -> None:
        bucket().pipe_file("s3://runs/private.parquet", b"PAR1")
        for sql in (
            "select * from 's3://runs/private.parquet'",
            "select * from read_text('s3://runs/all/*/files.json')",
        ):
            with pytest.raises(EdgeprofError, match=r"disabled|not exist"):
                answer(pushed, sql)

    def test_a_run_opens_by_its_address(self, pushed: str, folder: Path) -> None:
        local = list_runs(folder)[0].path
        run = edgeprof.open_run(f"{pushed}/{local.name}")
        assert run.tables == open_run(local).tables
        assert run.arrow("block_io").equals(open_run(local).arrow("block_io"))
        assert run.metrics == open_run(local).metrics
        assert len(edgeprof.open_runs(pushed)) == 5

    def test_commands_take_the_address(
        self, pushed: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def output(*words: str) -> Any:
            assert main([*words, "--json"]) == 0, capsys.readouterr().err
            return json.loads(capsys.readouterr().out)

        there, here = (output("runs", "--folder", str(place)) for place in (pushed, folder))
        assert there["folder"] == pushed
        assert [item["path"] for item in there["runs"]] == [f"{pushed}/{item['id']}" for item in here["runs"]]
        assert [item["metrics"] for item in there["runs"]] == [item["metrics"] for item in here["runs"]]
        monkeypatch.setenv("EDGEPROF_RUNS", pushed)
        shown = output("show", "000003")
        assert shown["metrics"] == output("show", "000003", "--folder", str(folder))["metrics"]
        assert output("compare", "000001", "000003")["metrics"]
        assert output("report", "000001")["report"].endswith("report.html")
        assert "capture into a folder of this machine" in told(capsys, "run", "--", "true")

    def test_what_was_deleted_there_is_gone_here(self, s3: S3, tmp_path: Path) -> None:
        address = f"{BUCKET}/gone"
        for name in ("a", "b"):
            push(write_run(tmp_path / f"20261121T130000Z-gone-{name}aaaaa", 1, 10), address)
        assert len(list_runs(runs_folder(address))) == 2
        bucket().rm(f"{address}/20261121T130000Z-gone-baaaaa", recursive=True)
        (left,) = list_runs(runs_folder(address))
        assert left.short_id == "aaaaaa"


class TestDask:
    @pytest.mark.parametrize(
        ("figure", "by", "sql"),
        [
            (
                "block_io.bytes",
                ["op", "model"],
                "select op, model, count(distinct run_id) runs, count(bytes) count, sum(bytes) sum, avg(bytes) mean,"
                ' min(bytes) min, max(bytes) max, stddev_samp(bytes) "stddev" from block_io join runs using (run_id)'
                " group by all order by all",
            ),
            (
                "block_io.sector",  # sums beyond 64 bits, and unknown values
                [],
                "select count(distinct run_id) runs, count(sector) count, sum(sector) sum, avg(sector) mean,"
                ' min(sector) min, max(sector) max, stddev_samp(sector) "stddev" from block_io',
            ),
            (
                "wall_time",
                ["model"],
                "select model, count(*) runs, count(value) count, sum(value) sum, avg(value) mean, min(value) min,"
                ' max(value) max, stddev_samp(value) "stddev" from metrics join runs using (run_id)'
                " where metrics.name = 'wall_time' and phase is null group by all order by all",
            ),
        ],
    )
    def test_aggregates_what_duckdb_tells(
        self, pushed: str, folder: Path, scheduler: str, figure: str, by: list[str], sql: str
    ) -> None:
        expected = answer(folder, sql)
        for place, where in ((pushed, Where(scheduler)), (str(folder), Where())):
            seen: list[tuple[int, int]] = []
            found = aggregate(
                runs_folder(place), figure, by, where, lambda done, total, seen=seen: seen.append((done, total))
            )
            assert same(found.table.to_pylist(), expected), place
            assert seen == [(number, 5) for number in range(1, 6)]

    def test_a_damaged_run_is_told_and_costs_only_itself(
        self, pushed: str, folder: Path, scheduler: str, tmp_path: Path
    ) -> None:
        copy = tmp_path / "runs"
        for entry in list_runs(folder)[:3]:
            shutil.copytree(entry.path, copy / entry.id)
        broken, *_ = (copy / entry.id for entry in list_runs(copy))
        (broken / "tables" / "block_io.parquet").write_bytes(b"PAR1 no more")
        found = aggregate(copy, "block_io.bytes", ["model"], Where(scheduler))
        assert [run for run, _ in found.skipped] == [broken.name]
        assert "damaged" in found.skipped[0][1]
        assert found.table.num_rows == 2

    def test_ingests_captures(self, places: Places, scheduler: str, capsys: pytest.CaptureFixture[str]) -> None:
        for _ in range(2):
            places.run("--no-ingest", "--", "true")
        first, second = places.directories()
        (places.runs / "20261121T130000Z-empty-aaaaaa" / "raw").mkdir(parents=True)
        assert main(["ingest", "--all", "--folder", str(places.runs), "--scheduler", scheduler]) == 120
        caught = capsys.readouterr()
        assert [line.split()[0] for line in caught.out.splitlines()] == [first.name, second.name]
        assert "nothing was captured" in caught.err
        assert all(open_run(path).tables and open_run(path).metrics for path in (first, second))

    def test_builds_the_same_training_set(self, pushed: str, folder: Path, scheduler: str, tmp_path: Path) -> None:
        def build(place: str, *options: str) -> bytes:
            target = tmp_path / "set.parquet"
            words = ["dataset", "build", "latency", place, "-o", str(target), "--deadline-quantile", "0.9", *options]
            assert main(words) == 0
            return target.read_bytes()

        expected = build(str(folder))
        assert len(expected) > 100_000
        assert build(pushed, "--scheduler", scheduler) == expected

    def test_a_worker_that_dies_costs_only_its_runs(self, scheduler: str) -> None:
        found = list(each(dies_at_b, ["a", "b", "c"], Where(scheduler)))
        assert [item.result for item in found] == ["a", None, "c"]
        assert found[1].problem is not None
        assert "died" in found[1].problem

    def test_workers_that_stand_for_boards_are_left_alone(self) -> None:
        import distributed

        with (
            distributed.LocalCluster(
                n_workers=1, processes=False, dashboard_address="127.0.0.1:0", resources={"orin-a": 1}, silence_logs=50
            ) as cluster,
            pytest.raises(DaskError, match="stand for boards"),
        ):
            list(each(str, ["a"], Where(cluster.scheduler_address)))

    def test_no_scheduler_is_told(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = ("dataset", "aggregate", "wall_time", "--folder", str(folder), "--scheduler", "tcp://127.0.0.1:1")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("edgeprof.profiler.remote_data.tasks.WAIT_SECONDS", 1)
            assert "cannot be reached" in told(capsys, *words)


def dies_at_b(item: str) -> str:
    """A task that takes its worker with it, as the kernel does where memory runs out."""
    if item == "b":
        os.kill(os.getpid(), 9)
    return item


class TestTold:
    def test_a_missing_bucket(self, s3: S3, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert "there is nothing at s3://none/runs" in told(capsys, "runs", "--folder", "s3://none/runs")
        run = str(list_runs(folder)[0].path)
        assert "bucket or folder exists" in told(capsys, "dataset", "push", run, "s3://none/runs")
        assert not bucket().exists("s3://none")

    @pytest.mark.parametrize(
        ("variables", "sentence"),
        [
            ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "refuses access"),
            ({"AWS_ACCESS_KEY_ID": "nobody"}, "refuses access"),
            ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found"),
            ({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "cannot be reached"),
        ],
    )
    def test_a_server_that_does_not_serve(
        self,
        pushed: str,
        folder: Path,
        variables: dict[str, str],
        sentence: str,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        said = told(capsys, "runs", "--folder", pushed)
        assert sentence in said
        assert os.environ["AWS_SECRET_ACCESS_KEY"] not in said or not os.environ["AWS_SECRET_ACCESS_KEY"]
        assert sentence in told(capsys, "dataset", "push", str(list_runs(folder)[0].path), pushed)

    @pytest.mark.parametrize("name", ["metrics.parquet", "tables/block_io.parquet"])
    def test_a_corrupt_object(self, s3: S3, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        address = f"{BUCKET}/corrupt-{name[0]}"
        bad, good = (write_run(tmp_path / f"20261121T13000{n}Z-run-{n}aaaaa", n, 50) for n in (1, 2))
        for run in (bad, good):
            push(run, address)
        whole = (bad / name).read_bytes()
        bucket().pipe_file(f"{address}/{bad.name}/{name}", whole[:-20] + bytes(20))
        with pytest.raises(RemoteError, match="checksum differs"):
            open_run_of(address, bad.name).arrow("block_io")
        place = runs_folder(address)
        entries = list_runs(place)
        with Dataset(entries, place) as dataset:
            rows = dataset.query("select run_id, count(*) n from block_io group by all").to_pylist()
            assert rows == [{"run_id": good.name, "n": 50}]
            assert len(dataset.skipped) + sum(entry.run is None for entry in entries) == 1
        push(bad, address, force=True)
        assert len(answer(address, "select run_id from block_io group by all")) == 2
        capsys.readouterr()

    def test_addresses_that_cannot_be(self, capsys: pytest.CaptureFixture[str]) -> None:
        for address, sentence in {
            "nothing://x/y": "knows no protocol",
            "s3://key:secret@x/y": "password",
            "s3://": "names no folder",
            "simplecache::s3://x/y": "is no address",
        }.items():
            said = told(capsys, "runs", "--folder", address)
            assert sentence in said
            assert "secret" not in said


def open_run_of(address: str, name: str) -> Any:
    """A run found in its folder, as commands find it."""
    from edgeprof.profiler.dataset import find_run

    return find_run(name, runs_folder(address))
