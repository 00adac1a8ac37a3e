"""The pages on many runs: compare, matrix, boards and KMLib, on whole, damaged and hostile folders."""

from __future__ import annotations

import json
import math
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

pytest.importorskip("dash", reason="needs Dash: make install, or pip install 'edgeprof[dashboard]'")
pytest.importorskip("scipy", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

from edgeprof.dashboards.app.figures import kml as kml_figures
from edgeprof.dashboards.app.index import RunIndex
from edgeprof.dashboards.app.kept import Kept
from edgeprof.dashboards.app.kml import files, kernel, scores
from edgeprof.dashboards.app.page import Context, Page
from edgeprof.dashboards.app.pages import boards, compare, kmlib, matrix
from edgeprof.dashboards.app.view import View, link
from edgeprof.dashboards.report.figures.base import Absent, Picture
from edgeprof.kmodule.evaluation import ratios, results
from edgeprof.kmodule.training import card
from edgeprof.profiler.errors import EdgeprofError
from edgeprof.profiler.matrix.folder import STATE
from tests import tiny_run
from tests.unit.test_compare import write_matrix

HOSTILE = "<img src=x onerror=alert(1)>"


def cut_short(table: Path, until: float) -> None:
    """Take the rows that begin later than so many seconds after the start out of a table."""
    content = pq.read_table(table)
    begin = content.column("queued_ns" if "queued_ns" in content.column_names else "start_ns").to_numpy()
    pq.write_table(content.filter(begin < tiny_run.START_NS + until * 1e9), table)


def context_of(folder: Path, **options: Any) -> Context:
    index = RunIndex(folder)
    index.refresh()
    return Context(folder, index, **options)


def texts(laid: Any) -> Iterator[str]:
    """All text of a layout, and the addresses of its links."""
    if isinstance(laid, str):
        yield laid
    elif isinstance(laid, list | tuple):
        for item in laid:
            yield from texts(item)
    elif hasattr(laid, "to_plotly_json"):
        properties = laid.to_plotly_json()["props"]
        yield from texts(properties.get("href"))
        yield from texts(properties.get("children"))


def text_of(page: Page, context: Context, address: str) -> str:
    """A page's text and links, a line each."""
    return "\n".join(texts(page.layout(context, View.parse(address))))


def drawn(page: Page, context: Context, address: str) -> dict[str, Any]:
    return {figure.key: context.draw(figure, View.parse(address)) for figure in page.figures}


@pytest.fixture(scope="module")
def runs_context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """Three runs on each of two kernels, and one whose manifest is torn."""
    folder: Path = tmp_path_factory.mktemp("runs")
    for number in range(6):
        tiny_run.write(
            folder / f"2026112{number}T120000Z-demo-{number}0000",
            run={"name": "demo", "wall_time": 10.0 + number % 2 + 0.01 * number},
            host={"kernel": "6.12" if number % 2 else "6.1"},
            factors={"note": HOSTILE if number % 2 else "plain"},
        )
    torn = folder / "20261127T120000Z-torn-70000"
    torn.mkdir()
    (torn / "manifest.json").write_text('{"schema": 1, "run"')
    return context_of(folder)


@pytest.fixture(scope="module")
def matrix_context(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A matrix of two cells with four repeats, one of which failed."""
    folder: Path = tmp_path_factory.mktemp("data")
    write_matrix(folder / "formats", 1.0, 1, failing="tar")
    return context_of(folder)


class TestCompare:
    @pytest.fixture
    def context(self, runs_context: Context) -> Context:
        return runs_context

    def ids(self, context: Context, count: int) -> list[str]:
        return sorted(path.name for path in context.folder.iterdir() if "demo" in path.name)[:count]

    def test_runs_named_in_the_address_are_compared_each_by_itself(self, context: Context) -> None:
        runs = self.ids(context, 2)
        found = compare.sides(context, View.parse(link("/compare", run=runs)))
        assert [side.group.processes[0].id for side in found.sides] == runs
        assert found.single
        swapped = compare.sides(context, View.parse(link("/compare", run=runs, base=runs[1])))
        assert [side.group.processes[0].id for side in swapped.sides] == runs[::-1]

    def test_all_runs_are_grouped_by_a_factor(self, context: Context) -> None:
        found = compare.sides(context, View.parse("/compare?by=host_kernel"))
        assert {side.name: len(side.group.processes) for side in found.sides} == {"6.1": 3, "6.12": 3}
        words = text_of(compare.PAGE, context, "/compare?by=host_kernel")
        assert "Wall time" in words
        assert f"/run?run={self.ids(context, 1)[0]}" in words

    def test_it_is_computed_once_for_all_figures_and_anew_when_a_run_changes(
        self, context: Context, tmp_path: Path
    ) -> None:
        for number in range(2):
            tiny_run.write(tmp_path / f"2026112{number}T120000Z-x-{number}0000", run={"wall_time": 10.0 + number})
        own = context_of(tmp_path)
        view = View.parse(link("/compare", run=sorted(path.name for path in tmp_path.iterdir())))
        first = compare.sides(own, view)
        assert compare.sides(own, view) is first
        shutil.rmtree(tmp_path / "20261121T120000Z-x-10000")
        tiny_run.write(tmp_path / "20261121T120000Z-x-10000", run={"wall_time": 20.0})
        again = compare.sides(own, view)
        assert again.sides[1].group.processes[0].metrics["wall_time"] == 20.0

    def test_a_window_cuts_what_is_over_time(self, context: Context) -> None:
        runs = self.ids(context, 2)
        whole = compare.sides(context, View.parse(link("/compare", run=runs)))
        part = compare.sides(context, View.parse(link("/compare", run=runs, t="1.5,5")))
        name = whole.sides[0].name
        assert part.span == (1.5, 5.0)
        assert len(part.drawn[name][0].data.number("steps", "step")) < len(
            whole.drawn[name][0].data.number("steps", "step")
        )
        assert part.compared is whole.compared, "metrics are those of whole runs"

    def test_a_window_without_steps_phases_or_requests_does_not_say_that_none_were_captured(
        self, context: Context
    ) -> None:
        runs = self.ids(context, 2)
        found = drawn(compare.PAGE, context, link("/compare", run=runs, t="0,0.9"))
        reasons = {found[f"compare-{key}"].reason for key in ("steps", "phases", "latency")}
        assert reasons == {f"no {what} of these runs lies in the time shown" for what in ("step", "phase", "request")}
        later = drawn(compare.PAGE, context, link("/compare", run=runs, t="-1,0", align="step"))
        assert not later["compare-timeline"].limits, "time 0 is the first step, also where no step is shown"

    def test_runs_with_nothing_in_the_window_are_told_from_those_without_any(self, tmp_path: Path) -> None:
        none = ("steps", "phases", "block_io")
        for name, run, without in (("long", {}, ()), ("short", {"wall_time": 5.0}, ()), ("bare", {}, none)):
            tiny_run.write(tmp_path / f"20261121T120000Z-{name}-{name}", without=without, run={"name": name, **run})
        for name in ("steps", "phases", "block_io"):
            cut_short(tmp_path / "20261121T120000Z-short-short" / "tables" / f"{name}.parquet", 4.0)
        context = context_of(tmp_path)
        runs = sorted(path.name for path in tmp_path.iterdir())
        found = drawn(compare.PAGE, context, link("/compare", run=runs, t="5,10"))
        assert set(found["compare-steps"].limits) >= {
            "No step was recorded of 20261121T120000Z-bare-bare.",
            "No step of 20261121T120000Z-short-short lies in the time shown.",
        }
        assert found["compare-phases"].limits == ["No phase was recorded of 20261121T120000Z-bare-bare."]
        assert set(found["compare-latency"].limits) >= {
            "No request of 1 of the 3 runs lies in the time shown.",
            "Requests of 1 of the 3 runs were not captured.",
        }

    def test_a_run_without_a_phase_in_the_window_counts_in_the_mean(self, tmp_path: Path) -> None:
        for number in range(4):
            host = {"kernel": "6.1" if number < 2 else "6.12"}
            run = tiny_run.write(tmp_path / f"2026112{number}T120000Z-x-{number}0000", host=host)
            if number == 1:
                cut_short(run / "tables" / "phases.parquet", 5.0)
        found = drawn(compare.PAGE, context_of(tmp_path), "/compare?by=host_kernel&t=6.5,8.5")["compare-phases"]
        assert found.table.rows == [["forward", "1 s", "2 s"], ["outside phases", "1 s", "0 s"]]

    def test_a_run_that_cannot_be_read_is_left_out_with_its_reason(self, context: Context) -> None:
        runs = [*self.ids(context, 2), "20261127T120000Z-torn-70000"]
        address = link("/compare", run=runs)
        assert len(compare.sides(context, View.parse(address)).sides) == 2
        words = text_of(compare.PAGE, context, address)
        assert "Left out" in words and "manifest.json cannot be read" in words
        assert not [item for item in drawn(compare.PAGE, context, address).values() if getattr(item, "failed", False)]

    @pytest.mark.parametrize(
        ("address", "said"),
        [
            ("/compare", "no runs are chosen"),
            ("/compare?by=nonsense", "no run has a factor"),
            ("/compare?by=name", "do not differ in name"),
            ("/compare?run=../../etc&run=/etc", "no run"),
            ("/compare?folder=..&folder=/etc", "no run"),
            ("/compare?run=20261120T120000Z-demo-00000", "at least two"),
            (link("/compare", run=[f"x{n}" for n in range(9)]), "too many to tell apart"),
        ],
    )
    def test_what_cannot_be_compared_is_said(self, context: Context, address: str, said: str) -> None:
        assert said in text_of(compare.PAGE, context, address)

    def test_folders_of_matrices_are_compared_cell_by_cell(self, tmp_path: Path) -> None:
        write_matrix(tmp_path / "main", 1.0, 1)
        write_matrix(tmp_path / "branch", 1.3, 2)
        context = context_of(tmp_path)
        words = text_of(compare.PAGE, context, "/compare?folder=main&folder=branch")
        assert "branch against main" in words
        assert "Differences in single cells" in words

    @pytest.fixture
    def two_folders(self, tmp_path: Path) -> Path:
        """Two folders of two runs each, below the folder that is served."""
        served = tmp_path / "served"
        for number in range(4):
            place = served / ("before", "after")[number % 2]
            tiny_run.write(place / f"2026112{number}T120000Z-x-{number}0000", run={"wall_time": 10.0 + number})
        return served

    def test_a_folder_is_read_again_when_its_runs_change(self, two_folders: Path) -> None:
        context, view = context_of(two_folders), View.parse("/compare?folder=before&folder=after")

        def walls() -> list[float | None]:
            found = compare.sides(context, view)
            return [process.metrics["wall_time"] for process in found.sides[1].group.processes]

        assert walls() == [11.0, 13.0]
        assert compare.sides(context, view) is compare.sides(context, view)
        tiny_run.write(two_folders / "after" / "20261125T120000Z-x-50000", run={"wall_time": 20.0})
        assert walls() == [11.0, 13.0, 20.0]
        again = two_folders / "after" / "20261123T120000Z-x-30000"
        shutil.rmtree(again)
        tiny_run.write(again, run={"wall_time": 14.0})
        assert walls() == [11.0, 14.0, 20.0]

    def test_linked_runs_of_elsewhere_are_left_out_unread(self, two_folders: Path, tmp_path: Path) -> None:
        outside = tiny_run.write(tmp_path / "20261126T120000Z-secret-60000", run={"name": "secret"})
        (two_folders / "after" / outside.name).symlink_to(outside)
        address = "/compare?folder=before&folder=after"
        context = context_of(two_folders)
        words = text_of(compare.PAGE, context, address)
        assert "left out: it is a link that leads out of the folder" in words
        found = compare.sides(context, View.parse(address))
        assert {run.id for runs in found.drawn.values() for run in runs} == {
            f"2026112{number}T120000Z-x-{number}0000" for number in range(4)
        }
        for run in ("20261121T120000Z-x-10000", "20261123T120000Z-x-30000"):
            shutil.rmtree(two_folders / "after" / run)
        assert "there are no runs in after" in text_of(compare.PAGE, context, address)

    def test_linked_runs_of_a_matrix_are_left_out_too(self, tmp_path: Path) -> None:
        served = tmp_path / "served"
        for number, name in enumerate(("main", "branch")):
            write_matrix(served / name, 1.0, number)
        run = next((served / "branch" / "runs").iterdir())
        run.rename(tmp_path / run.name)
        run.symlink_to(tmp_path / run.name)
        context, address = context_of(served), "/compare?folder=main&folder=branch"
        assert "leads out of the folder" in text_of(compare.PAGE, context, address)
        assert not [item for item in drawn(compare.PAGE, context, address).values() if getattr(item, "failed", False)]

    def test_a_folder_without_runs_says_so(self, tmp_path: Path) -> None:
        assert "no runs are chosen" in text_of(compare.PAGE, context_of(tmp_path), "/compare")

    def test_groups_by_a_number_stand_in_its_order(self, tmp_path: Path) -> None:
        for number, batch in enumerate((128, 2, 16, "none")):
            tiny_run.write(tmp_path / f"2026112{number}T120000Z-x-{number}0000", factors={"batch": batch})
        context = context_of(tmp_path)
        found = compare.sides(context, View.parse("/compare?by=batch"))
        assert [side.name for side in found.sides] == ["2", "16", "128", "none"]
        found = compare.sides(context, View.parse("/compare?by=batch&base=16"))
        assert [side.name for side in found.sides] == ["16", "2", "128", "none"]


class TestMatrix:
    @pytest.fixture
    def context(self, matrix_context: Context) -> Context:
        return matrix_context

    def test_effects_and_the_map_show_the_planted_difference(self, context: Context) -> None:
        found = drawn(matrix.PAGE, context, "/matrix?metric=wall_time")
        assert all(isinstance(item, Picture) for item in found.values()), found
        effect = [x for trace in found["matrix-effects"].figure.data for x in trace.x]
        assert effect == [pytest.approx(math.log(3), abs=0.03)]
        rows = found["matrix-map"].table.rows
        assert [row[0] for row in rows] == ["tar", "lmdb"]

    def test_cells_link_to_their_runs_and_failures_have_reasons(self, context: Context) -> None:
        words = text_of(matrix.PAGE, context, "/matrix?metric=wall_time")
        assert "formats/runs/20261122T120000Z-lmdb-1l2000" in words.replace("%2F", "/")
        assert "it did not end in time" in words
        assert "7 runs done, 1 failed" in words

    def test_cells_that_did_not_run_yet_are_counted(self, context: Context, tmp_path: Path) -> None:
        write_matrix(tmp_path / "half", 1.0, 3)
        state = tmp_path / "half" / STATE
        state.write_bytes(b"\n".join(state.read_bytes().splitlines()[:-4]) + b"\n")
        words = text_of(matrix.PAGE, context_of(tmp_path), "/matrix")
        assert "2 left to run" in words and "Not run yet" in words

    @pytest.mark.parametrize("state", ["", "{torn", '{"event": "plan", "plan": {"name": "x"}}\n'])
    def test_a_damaged_state_is_said(self, tmp_path: Path, state: str) -> None:
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / STATE).write_text(state)
        words = text_of(matrix.PAGE, context_of(tmp_path), "/matrix")
        assert "damaged" in words or "holds no matrix" in words

    def test_a_matrix_outside_the_folder_is_not_read(self, context: Context, tmp_path: Path) -> None:
        outside = write_matrix(tmp_path / "outside", 1.0, 1)
        for name in (str(outside), "../outside", "formats/../../x"):
            with pytest.raises(EdgeprofError):
                matrix.found(context, View.parse(link("/matrix", matrix=name)))

    def test_it_is_answered_anew_when_a_run_is_ingested_again(self, tmp_path: Path) -> None:
        folder = write_matrix(tmp_path / "formats", 1.0, 1)
        context, view = context_of(tmp_path), View.parse("/matrix?metric=wall_time")
        first = matrix.found(context, view)
        assert matrix.found(context, view) is first
        run = sorted((folder / "runs").iterdir())[0]
        shutil.rmtree(run)
        tiny_run.write(run, run={"wall_time": 99.0})
        walls = [cell.metrics["wall_time"] for cell in matrix.found(context, view).answer.study.cells]
        assert 99.0 in walls

    def test_a_matrix_that_is_not_there_is_said(self, tmp_path: Path) -> None:
        assert "gone" in text_of(matrix.PAGE, context_of(tmp_path), link("/matrix", matrix="gone"))

    def test_of_several_the_first_can_be_named_too(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_matrix(tmp_path / name, 1.0, 1)
        words = text_of(matrix.PAGE, context_of(tmp_path), link("/matrix", matrix="a"))
        assert "not here" not in words

    def test_without_a_matrix_it_says_how_to_get_one(self, tmp_path: Path) -> None:
        assert "edgeprof matrix run" in text_of(matrix.PAGE, context_of(tmp_path), "/matrix")


class TestBoards:
    def test_machines_are_told_with_their_runs(self, tmp_path: Path) -> None:
        for number, (board, host, release) in enumerate(
            [("Nano", "a", "4.9"), ("Nano", "a", "5.15"), ("Nano", "b", "4.9"), (None, HOSTILE, "6.1")]
        ):
            tiny_run.write(
                tmp_path / f"2026112{number}T120000Z-run-{number}0000",
                run={"started": f"2026-11-2{number}T12:00:00Z"},
                factors={"board": board},
                host={"hostname": host, "kernel": release, "board": board, "cpu_model": "X1"},
            )
        context = context_of(tmp_path)
        found, untold = boards.machines(context.index.snapshot())
        assert [(machine.name, machine.host, len(machine.rows)) for machine in found] == [
            ("X1", HOSTILE, 1),
            ("Nano", "b", 1),
            ("Nano", "a", 2),
        ]
        assert untold == 0
        assert found[2].newest["id"] == "20261121T120000Z-run-10000"
        words = text_of(boards.PAGE, context, link("/boards", board="Nano a"))
        assert "Compare its 2 kernels" in words
        assert "captured whole" in words
        assert "Last run (UTC)" in words

    def test_odd_facts_of_one_run_leave_the_page(self, tmp_path: Path) -> None:
        disk = {"name": "vda", "bytes": 10**400}
        tiny_run.write(tmp_path / "20261121T120000Z-run-10000", host={"hostname": "a", "memory_bytes": 8 * 10**9})
        facts = {"hostname": "b", "memory_bytes": HOSTILE, "devices": {"254:0": disk}}
        tiny_run.write(tmp_path / "20261121T130000Z-run-20000", host=facts)
        words = text_of(boards.PAGE, context_of(tmp_path), "/boards")
        assert HOSTILE in words
        assert "8000000000" in words
        assert "Disk vda" in words

    def test_runs_that_cannot_be_read_are_counted(self, tmp_path: Path) -> None:
        tiny_run.write(tmp_path / "20261121T120000Z-run-10000", host={"hostname": "a"})
        torn = tmp_path / "20261121T130000Z-torn-20000"
        torn.mkdir()
        (torn / "manifest.json").write_text("{")
        assert "1 run cannot be read" in text_of(boards.PAGE, context_of(tmp_path), "/boards")

    def test_an_empty_folder_says_what_to_do(self, tmp_path: Path) -> None:
        assert "edgeprof run" in text_of(boards.PAGE, context_of(tmp_path), "/boards")


def score(value: float | None, low: float | None = None, high: float | None = None, reason: str = "") -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "reason": reason or None}


def latency_card() -> dict[str, Any]:
    by = {"model": {"auc": score(0.9, 0.8, 0.95), "mae": score(0.5, 0.4, 0.6)}}
    by["nothing"] = {"auc": score(None, reason="only one kind"), "mae": score(1.5, 1.4, 1.6)}
    tried = [{"what": "network 4-1", "instructions": 90, "validation_error": 0.1, "memory_bytes": 100}]
    return {
        "format": card.FORMAT,
        "version": card.VERSION,
        "kind": "latency",
        "model": {"name": "m", "what": "network 4-1", "memory_bytes": 100, "instructions": 90, "features": [HOSTILE]},
        "data": {"runs": {"a": 1}},
        "training": {"rows": 10, "candidates": tried, "instructions_budget": 100},
        "metrics": {"time": {"scores": by}, HOSTILE: "no part"},
    }


def ratio(disk: str, workload: str, of: str, figure: str, value: float, **more: Any) -> dict[str, Any]:
    key = {"disk": disk, "workload": workload, "contender": "mq-kmlib", "of": of, "figure": figure}
    return {**key, **score(value, 0.9 * value, 1.1 * value), **more}


def evaluation() -> dict[str, Any]:
    compared = [
        ratio("sd", "mixed", "all", "mean", 0.5),
        ratio("sd", "other", "all", "mean", 1.0),
        ratio("sd", "mixed", "read", "p99", 0.4),
        ratio("sd", "mixed", "read", "requests", 1.0, base=500.0, own=500.0),
        ratio("sd", "other", "read", "p99", 3.0),
        ratio("sd", "other", "read", "requests", 1.0, base=99.0, own=500.0),
        ratio("", "mixed", "all", "mean", 0.5),
        {"disk": "sd", "value": "nonsense"},
        "nonsense",
    ]
    goal = {"name": "gain", "where": "sd", "figure": "mean", "limit": 0.75, "ratio": score(0.5, 0.4, 0.6), "met": True}
    return {
        "plan": {"baseline": "mq-deadline", "contenders": {}},
        "compared": compared,
        "goals": {"mq-kmlib": [goal, {"met": []}]},
        "failed": [{"job": "a", "reason": HOSTILE}],
    }


class TestKMLib:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "m.kml").write_bytes(b"model")
        (tmp_path / "m.kml.json").write_text(json.dumps(latency_card()))
        place = tmp_path / "evaluations" / "sched"
        place.mkdir(parents=True)
        (place / files.PLAN).write_text("{}")
        (place / files.RESULTS).write_text(json.dumps(evaluation()))
        return tmp_path

    def test_the_formats_are_those_that_kmlib_writes(self) -> None:
        assert (files.CARD_FORMAT, files.CARD_VERSION) == (card.FORMAT, card.VERSION)
        assert scores.LEAST_FOR_TAIL == ratios.LEAST_FOR_TAIL
        assert (scores.MIXED, scores.OTHERS) == (results.MIXED, results.OTHERS)

    def test_cards_evaluations_and_records_are_found(self, folder: Path) -> None:
        lines = [{"time": 1.0, "sentence": "tries", "event": "tries"}, {"sentence": "keeps", "event": "keeps"}]
        (folder / "tune.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"time": 17')
        (folder / "other.jsonl").write_text('{"a": 1}\n')
        (folder / "package.json").write_text("{}")
        found = files.discover(folder)
        assert [(item.kind, item.path, item.problem) for item in sorted(found.items, key=lambda item: item.kind)] == [
            ("card", "m.kml.json", ""),
            ("evaluation", "evaluations/sched", ""),
            ("record", "tune.jsonl", ""),
        ]
        words = text_of(kmlib.PAGE, context_of(folder, loopback=False), "/kmlib")
        assert "keeps" in words and HOSTILE in words
        assert "When (UTC)" in words and "1970-01-01 00:00:01" in words
        assert "kernel" not in words.lower(), "the machine's state is for its own users only"

    def test_times_are_in_utc_whatever_the_servers_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        try:
            assert kmlib._clock(0.0) == "1970-01-01 00:00:00"
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_the_last_lines_of_a_long_record_are_kept(self, tmp_path: Path) -> None:
        lines = [{"time": n, "sentence": f"line {n} {'x' * 2000}", "event": "tries"} for n in range(300)]
        (tmp_path / "tune.jsonl").write_text("\n".join(map(json.dumps, lines)))
        (record,) = files.discover(tmp_path).of("record")
        assert len(record.content["lines"]) == files.LINES_KEPT
        assert max(len(line["sentence"]) for line in record.content["lines"]) == files.LONGEST
        words = text_of(kmlib.PAGE, context_of(tmp_path, loopback=False), "/kmlib")
        assert "line 299" in words and "line 99 " not in words
        assert "The last 200 of 300 lines." in words

    def test_a_file_is_read_once_until_it_changes(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read: list[str] = []
        whole = files._read
        monkeypatch.setattr(files, "_read", lambda path: read.append(path.name) or whole(path))
        first = files.discover(folder)
        assert files.discover(folder) == first
        assert sorted(read) == ["m.kml.json", files.RESULTS]
        (folder / "m.kml.json").write_text("[]")
        assert [item.problem[:10] for item in files.discover(folder).of("card")] == ["it is no m"]
        assert len(read) == 3

    def test_content_is_read_of_what_is_shown_alone(self, folder: Path) -> None:
        found = files.discover(folder)
        assert not any(item.content for item in found.items)
        (item,) = found.of("card")
        assert files.opened(folder, item).content["model"]["name"] == "m"
        (folder / "m.kml.json").write_text("[]")
        assert "no model card" in files.opened(folder, item).problem

    def test_more_than_is_read_is_said(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "MOST_READ", 100)
        found = files.discover(folder)
        assert (len(found.items), found.cut) == (1, True)
        words = text_of(kmlib.PAGE, context_of(folder, loopback=False), "/kmlib")
        assert "holds more than was looked through" in words

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"format": "edge', "cannot be read"),
            ("[]", "no model card"),
            (json.dumps({"format": card.FORMAT, "version": 99}), "has version 99"),
            (json.dumps({"format": card.FORMAT, "version": card.VERSION}), "does not describe a model"),
        ],
    )
    def test_a_card_that_cannot_be_read_says_why(self, tmp_path: Path, content: str, said: str) -> None:
        (tmp_path / "bad.kml.json").write_text(content)
        context = context_of(tmp_path, loopback=False)
        assert said in text_of(kmlib.PAGE, context, "/kmlib")
        assert not [item for item in drawn(kmlib.PAGE, context, "/kmlib").values() if isinstance(item, Picture)]

    def test_nothing_outside_the_folder_and_nothing_in_runs_is_read(self, tmp_path: Path) -> None:
        served, outside = tmp_path / "served", tmp_path / "outside"
        for place in (served / "runs", served / "a-run", outside):
            place.mkdir(parents=True)
            (place / "m.kml.json").write_text(json.dumps(latency_card()))
        (served / "a-run" / "manifest.json").write_text("{}")
        (served / "link").symlink_to(outside)
        (served / "card.kml.json").symlink_to(outside / "m.kml.json")
        assert files.discover(served).items == ()
        words = text_of(kmlib.PAGE, context_of(served, loopback=False), link("/kmlib", card="../outside/m.kml.json"))
        assert "no model card is in this folder" in words

    def test_scores_stand_beside_what_the_model_is_compared_with(self, folder: Path) -> None:
        found = drawn(kmlib.PAGE, context_of(folder), "/kmlib")
        assert not [item for item in found.values() if isinstance(item, Absent)]
        rows = found["kmlib-scores"].table.rows
        assert rows == [["time", "model", "0.900 (0.800 to 0.950)"], ["time", "nothing", "only one kind"]]
        error = drawn(kmlib.PAGE, context_of(folder), "/kmlib?score=mae")["kmlib-scores"]
        assert error.table.rows[1][2] == "1.500 (1.400 to 1.600)"
        assert "lower is better" in error.figure.layout.xaxis.title.text

    def test_a_hostile_score_is_text_in_the_axis(self, tmp_path: Path) -> None:
        hostile = '<a href="https://evil.example">best</a>'
        content = latency_card()
        content["metrics"] = {"time": {"scores": {"model": {hostile: score(0.9)}}}}
        (tmp_path / "m.kml.json").write_text(json.dumps(content))
        found = drawn(kmlib.PAGE, context_of(tmp_path), link("/kmlib", score=hostile))["kmlib-scores"]
        assert "<" not in found.figure.layout.xaxis.title.text

    def test_benefits_are_ratios_and_an_interval_around_1_is_hollow(self, folder: Path) -> None:
        found = drawn(kmlib.PAGE, context_of(folder), "/kmlib")["kmlib-benefit"]
        by_name = {trace.name: trace for trace in found.figure.data}
        assert list(by_name["better"].x) == [pytest.approx(math.log(0.5))]
        assert by_name["no difference shown"].marker.symbol == "circle-open"
        assert "mq-deadline" in found.figure.layout.xaxis.title.text

    def test_the_99th_percentile_of_few_requests_is_not_shown(self, folder: Path) -> None:
        found = drawn(kmlib.PAGE, context_of(folder), "/kmlib?measure=read+p99")["kmlib-benefit"]
        assert [row[1] for row in found.table.rows] == ["mixed"]

    def test_the_99th_percentile_over_all_workloads_takes_enough_requests_in_each(self, folder: Path) -> None:
        told = evaluation()
        told["plan"]["workloads"] = {"mixed": {"mixed": True}, "other": {"mixed": False}}
        told["compared"] += [ratio("", "mixed", "read", "p99", 0.4), ratio("", "other", "read", "p99", 3.0)]
        place = folder / "evaluations" / "sched" / files.RESULTS
        place.write_text(json.dumps(told))
        address = "/kmlib?measure=read+p99"
        found = drawn(kmlib.PAGE, context_of(folder), address)["kmlib-overall"]
        assert [(row[0].split()[-2], row[2]) for row in found.table.rows] == [
            ("be", "0.400 (0.360 to 0.440)"),
            ("be", "too few requests"),
        ]
        few = [item for item in scores.ratios_of(told) if item.workload == "other" and item.measure == "read p99"]
        over = kml_figures.overall("key", "heading", few, "read p99", "mq-deadline")
        assert isinstance(over, Absent)
        assert over.reason == "too few requests for a 99th percentile over all workloads"

    def test_one_repeat_cannot_be_judged(self) -> None:
        only = scores.Ratio("sd", "w", "mq-kmlib", "all mean", scores.Score(0.8))
        found = kml_figures.benefit("key", "heading", [only], "mq-kmlib", "all mean", "mq-deadline")
        assert isinstance(found, Picture)
        assert [trace.name for trace in found.figure.data] == ["one repeat, which cannot be judged"]

    @pytest.mark.parametrize(
        ("value", "known"), [(2, 2.0), (10**400, None), (math.inf, None), (True, None), ("2", None)]
    )
    def test_only_finite_numbers_are_numbers(self, value: object, known: float | None) -> None:
        assert scores.number(value) == known

    def test_read_ahead_is_told_as_throughput(self) -> None:
        outcome = {"disk": "sd", "workload": "rows", "to_default": score(3.0, 2.5, 3.5), "to_oracle": score(0.9)}
        found = scores.ratios_of({"outcomes": [outcome, {"disk": 1}]})
        assert [(item.measure, item.score.value) for item in found] == [("default", 3.0), ("oracle", 0.9)]
        drawn_ = kml_figures.benefit("key", "heading", found, "kml-readahead", "default", "128-KiB")
        assert isinstance(drawn_, Picture)
        assert [trace.name for trace in drawn_.figure.data] == ["better"]

    def test_an_empty_folder_says_how_to_fill_it(self, tmp_path: Path) -> None:
        words = text_of(kmlib.PAGE, context_of(tmp_path, loopback=False), "/kmlib")
        assert "edgeprof kml train" in words and "edgeprof kml bench" in words


def plant(root: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class TestKernel:
    def test_a_kernel_without_kmlib_has_nothing(self, tmp_path: Path) -> None:
        assert kernel.read(tmp_path) == kernel.State([], [])

    def test_predictors_disks_and_read_ahead_are_told(self, tmp_path: Path) -> None:
        statistics = "models 2\npredictions 1000\ndropped 3\nmodel_bytes 1464\ntraining 1\nloss 16384/65536\n"
        elevator = (
            "read_completed 10\nread_latency_ns 20000000\nread_missed 1\nread_model_predictions 9\n"
            "read_model_error_of_65536 32768\nread_model_trivial_error_of_65536 65536\nread_model_trusted 1\n"
            "read_model_errors 1 2 3\nheld 7\n"
        )
        root = plant(
            tmp_path,
            {
                "sys/module/kml/version": "1",
                "sys/module/mq_kmlib/version": "1",
                "sys/module/kml_readahead/parameters/mode": "act\n",
                "sys/module/kml_readahead/parameters/devices": "mmcblk0\n",
                "sys/kernel/debug/kml/mq-kmlib/statistics": statistics,
                "sys/kernel/debug/kml_readahead/counters": "windows 5\ntaken_back 1\n",
                "sys/block/mmcblk0/queue/scheduler": "none [mq-kmlib] kyber\n",
                "sys/block/mmcblk0/queue/iosched/mode": "act\n",
                "sys/block/mmcblk0/queue/iosched/state": "acts\n",
                "sys/kernel/debug/block/mmcblk0/sched/statistics": elevator,
                "sys/block/sda/queue/scheduler": "[none] mq-kmlib\n",
            },
        )
        state = kernel.read(root)
        assert state.modules == ["kml", "mq_kmlib", "kml_readahead"]
        predictor, disk, readahead = state.tables
        assert dict(predictor.facts)["Loss, fading mean"] == "0.2500"
        assert dict(predictor.facts)["Model"] == "number 2"
        assert dict(disk.facts) == {
            "Mode": "act",
            "It": "acts",
            "Reads": "10, 2 ms in the mean, 1 past their deadline",
            "Prediction error, reads": "0.50 doublings, 1.00 by the mean alone: used",
            "Dispatches that held writeback back": "7",
        }
        assert ("Taken back", "1") in readahead.facts

    def test_counters_that_only_root_may_read_say_so(self, tmp_path: Path) -> None:
        root = plant(
            tmp_path,
            {
                "sys/module/mq_kmlib/version": "1",
                "sys/block/sda/queue/scheduler": "[mq-kmlib]\n",
                "sys/block/sda/queue/iosched/mode": "observe\n",
            },
        )
        (disk,) = kernel.read(root).tables
        assert disk.facts == [("Mode", "observe")]
        assert "root" in disk.problem


def test_what_many_ask_for_at_once_is_made_once() -> None:
    kept: Kept[int] = Kept(2)
    made: list[int] = []
    start, go = threading.Barrier(5), threading.Event()

    def make() -> int:
        made.append(1)
        go.wait(10)
        return 42

    def ask() -> None:
        start.wait(10)
        got.append(kept.get("key", make))

    got: list[int] = []
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    start.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert (len(made), got) == (1, [42] * 4)


def test_a_failure_is_not_kept() -> None:
    kept: Kept[int] = Kept(2)
    with pytest.raises(ZeroDivisionError):
        kept.get("key", lambda: 1 // 0)
    assert kept.get("key", lambda: 7) == 7
