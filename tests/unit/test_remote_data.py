"""Folders at an address and figures of many runs, without a server: what is put together, refused and never asked."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprof.profiler.dataset import entry_of, list_runs, runs_folder
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.query import Dataset
from edgeprof.profiler.remote_data import listing, tasks
from edgeprof.profiler.remote_data.address import Place, RemoteError, open_address, split
from edgeprof.profiler.remote_data.aggregate import aggregate
from edgeprof.profiler.remote_data.moments import Moments, grouped
from edgeprof.profiler.remote_data.push import push
from edgeprof.profiler.remote_data.tasks import DaskError, each
from tests import tiny_run

NUMBERS = st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), max_size=20)


class TestMoments:
    @settings(deadline=None, max_examples=60)
    @given(st.lists(NUMBERS, min_size=1, max_size=5))
    def test_of_parts_are_those_of_the_whole(self, parts: list[list[int | None]]) -> None:
        found = Moments()
        for part in parts:
            for _, moments in grouped(pa.table({"x": pa.array(part, pa.int64())}), "x", []):
                found += moments
        known = [value for part in parts for value in part if value is not None]
        assert (found.count, found.sum) == (len(known), sum(known))
        if known:
            assert (found.least, found.greatest) == (min(known), max(known))
            assert found.mean == pytest.approx(float(np.mean(np.array(known, float))), rel=1e-9, abs=1e3)
        if len(known) > 1:
            assert found.stddev == pytest.approx(float(np.std(np.array(known, float), ddof=1)), rel=1e-6, abs=1e4)

    def test_of_groups_and_unknown_values(self) -> None:
        table = pa.table({"x": [1.5, None, 2.5, None], "op": ["a", "a", "a", None]})
        found = dict(grouped(table, "x", ["op"]))
        assert (found["a",].count, found["a",].sum, found["a",].mean) == (2, 4.0, 2.0)
        assert found[None,] == Moments()

    def test_of_text_are_refused(self) -> None:
        with pytest.raises(EdgeprofError, match="holds no numbers"):
            list(grouped(pa.table({"x": ["a"]}), "x", []))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


class TestOtherFileSystems:
    """`memory://` is fsspec's own, in this process: what holds of it holds of any that is not an object store."""

    def test_pushed_read_and_asked(self, cache: Path, tmp_path: Path) -> None:
        address = f"memory://{tmp_path.name}/runs"
        for number in range(2):
            run = tiny_run.write(tmp_path / "runs" / f"20261121T12000{number}Z-tiny-abc12{number}")
            assert push(run, address).sent_files > 10
            assert push(run, address).sent_files == 0
        place = runs_folder(address)
        with Dataset(list_runs(place), place) as dataset:
            rows = dataset.query("select run_id, count(*) n from block_io group by all order by all").to_pylist()
        assert [row["n"] for row in rows] == [len(tiny_run.REQUESTS)] * 2
        found = aggregate(place, "block_io.bytes", ["op"])
        assert found.table.to_pylist() == aggregate(tmp_path / "runs", "block_io.bytes", ["op"]).table.to_pylist()

    def test_what_an_interrupted_listing_left_is_not_taken_for_what_was_pushed_since(
        self, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        address, name = f"memory://{tmp_path.name}/runs", "20261121T120000Z-tiny-abc123"
        push(tiny_run.write(tmp_path / "runs" / name, factors={"model": "old"}), address)
        read = Place.read

        def interrupted(place: Place, wanted: dict[str, int]) -> Iterator[tuple[str, bytes | None]]:
            for item in read(place, wanted):
                yield item
                if item[0].endswith("manifest.json"):
                    raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(Place, "read", interrupted)
            with pytest.raises(KeyboardInterrupt):
                runs_folder(address)
        assert list(cache.rglob("manifest.json"))
        shutil.rmtree(tmp_path / "runs" / name)
        push(tiny_run.write(tmp_path / "runs" / name, factors={"model": "new"}), address)
        (entry,) = list_runs(runs_folder(address))
        assert entry.run is not None
        assert entry.run.manifest["factors"]["model"] == "new"

    def test_a_mirrored_run_without_a_marker_is_fetched_anew(self, cache: Path, tmp_path: Path) -> None:
        address = f"memory://{tmp_path.name}/runs"
        push(tiny_run.write(tmp_path / "20261121T120000Z-tiny-abc123"), address)
        (run,) = list_runs(runs_folder(address))
        (run.path / ".remote.json").unlink()
        (run.path / "manifest.json").write_text("old")
        (run,) = list_runs(runs_folder(address))
        assert run.state == "finished"

    def test_a_file_address_is_the_folder_itself(self, tmp_path: Path) -> None:
        assert runs_folder(f"file://{tmp_path}") == tmp_path

    def test_names_that_leave_the_folder_are_passed_over(self, cache: Path) -> None:
        class Hostile:
            def invalidate_cache(self) -> None:
                pass

            def find(self, root: str, detail: bool) -> dict[str, dict[str, int]]:
                names = ("../../etc/passwd", "a//b", "a/./b", "a\0b", "a/manifest.json", "a\\b")
                return {f"{root}/{name}": {"size": 1} for name in names}

        assert set(Place(Hostile(), "bucket/runs", "s3://bucket/runs").find()) == {"a/manifest.json"}


def test_a_metric_is_grouped_by_a_column_of_its_table_by_either_name(tmp_path: Path) -> None:
    for number in range(2):
        tiny_run.write(tmp_path / f"20261121T12000{number}Z-tiny-abc12{number}")
    short, long = (aggregate(tmp_path, "throughput", [name]).table for name in ("phase", "metrics.phase"))
    assert short.column_names[0] == "phase"
    assert short.num_rows > 0
    assert long.to_pylist() == short.to_pylist()


class TestRefused:
    def test_addresses(self) -> None:
        for address in ("nothing://x/y", "s3://user:word@x/y", "memory://", "simplecache::memory://x"):
            with pytest.raises(RemoteError) as caught:
                open_address(address)
            assert "word@" not in str(caught.value)
        with pytest.raises(RemoteError, match="names no run"):
            split("s3://bucket")

    def test_a_marker_from_elsewhere(self, cache: Path, tmp_path: Path) -> None:
        run = tiny_run.write(tmp_path / "20261121T130000Z-mine-aaaaaa")
        marker = {"address": "s3://evil/x", "files": {"tables/stolen.parquet": [1, ""]}, "problem": "no"}
        (run / ".remote.json").write_text(json.dumps(marker))
        entry = entry_of(run)
        assert entry.run is not None
        assert "stolen" not in entry.run.tables

    @pytest.mark.parametrize(
        "data", [b"", b"{", b"[]", b'{"version": 2, "files": {}}', b'{"version": 1, "files": {"a": {"size": "1"}}}']
    )
    def test_a_damaged_list_of_files_lists_none(self, data: bytes) -> None:
        assert listing.load(data) == {}

    def test_a_missing_package_is_named(self, tmp_path: Path) -> None:
        program = (
            "import sys; sys.modules['fsspec'] = None; from edgeprof.cli.main import main;"
            " sys.exit(main(['runs', '--folder', 's3://bucket/runs']))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 120
        assert "pip install 'edgeprof[remote]'" in done.stderr


def test_what_one_item_raises_is_told_of_it_alone() -> None:
    found = list(each(int, ["1", "two", "3"]))
    assert [item.result for item in found] == [1, None, 3]
    assert "ValueError" in str(found[1].problem)


class TestWorkers:
    """What becomes of work that is waited for longer than one look at its workers."""

    def test_a_task_may_take_longer_than_a_look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'edgeprof[fleet]'")

        class Late(Exception):
            """As asyncio's own up to Python 3.10: not the built-in one."""

        class Slow:
            looks = 0

            def result(self, timeout: float) -> tasks.Done[str]:
                self.looks += 1
                if self.looks <= 2 * tasks._EMPTY_LOOKS:
                    raise Late
                return tasks.Done("a", "done")

        class Client:
            def scheduler_info(self, n_workers: int) -> dict[str, dict[str, object]]:
                return {"workers": {} if slow.looks % tasks._EMPTY_LOOKS else {"tcp://one": {}}}

        slow = Slow()
        monkeypatch.setattr(distributed, "TimeoutError", Late)
        assert tasks._gathered(Client(), [], "a", slow) == tasks.Done("a", "done")

    def test_work_that_all_workers_have_left_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'edgeprof[fleet]'")
        monkeypatch.setattr(tasks, "LOOK_SECONDS", 0.05)
        with (
            distributed.LocalCluster(
                n_workers=0, processes=False, dashboard_address="127.0.0.1:0", silence_logs=50
            ) as cluster,
            distributed.Client(cluster, set_as_default=False) as client,
            pytest.raises(DaskError, match="all workers have left the scheduler; start others"),
        ):
            list(tasks._spread(client, [], 1, str, ["a"]))

    def test_a_scheduler_without_workers_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        distributed = pytest.importorskip("distributed", reason="needs Dask: pip install 'edgeprof[fleet]'")
        monkeypatch.setattr(tasks, "WAIT_SECONDS", 0.1)

        class Late(Exception):
            """As above."""

        class Client:
            def wait_for_workers(self, number: int, timeout: float) -> None:
                raise Late

        monkeypatch.setattr(distributed, "TimeoutError", Late)
        with pytest.raises(DaskError, match="has no workers"):
            tasks._usable(Client(), "tcp://desk:8786")
