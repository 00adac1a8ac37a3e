"""Evaluations: plans are fair, latencies count from submission, ratios are paired, goals follow from figures."""

from __future__ import annotations

import errno
import json
import math
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from edgeprof.collectors.block.actions import make
from edgeprof.collectors.block.requests import pair
from edgeprof.kmodule.evaluation import (
    cost,
    device,
    folder,
    goals,
    guest,
    plot,
    readahead,
    record,
    script,
    table,
    trace,
)
from edgeprof.kmodule.evaluation.errors import NoSuchChoice, NotAnEvaluation
from edgeprof.kmodule.evaluation.guest import Ran
from edgeprof.kmodule.evaluation.plan import ABLATION, BASELINE, CONTENDERS, SCHEDULERS, Job, contender, plan
from edgeprof.kmodule.evaluation.ratios import ratio, ratio_over, values_of
from edgeprof.kmodule.evaluation.results import save_results
from edgeprof.kmodule.evaluation.workloads import PACE, WORKLOADS
from edgeprof.kmodule.model import Feature
from edgeprof.kmodule.model_file import Node, tree_file
from edgeprof.kmodule.training.errors import WrongModel
from edgeprof.profiler.files import CannotWrite

HOST = {"machine": "test disk", "kernel": "6.1", "device": "kml_disk", "number": "0:0"}


def figures(mean: float, requests: int = 200, late: int = 0) -> dict[str, Any]:
    return {
        "requests": requests,
        "bytes": 4096,
        "late": late,
        "mean": mean,
        "p50": mean,
        "p99": 3 * mean,
        "max": 9 * mean,
    }


def job(
    name: str, repeat: int, mean: float, seconds: float, *, workload: str = "sizes", late: int = 0, mixed: bool = True
) -> dict[str, Any]:
    return {
        "name": f"sdcard.{workload}.{name}.{repeat}",
        "disk": "sdcard",
        "workload": workload,
        "mixed": mixed,
        "contender": name,
        "repeat": repeat,
        "failed": None,
        "completion": {"small": seconds, "total": seconds},
        "classes": {of: figures(mean, late=late if of == "writeback" else 0) for of in record.GROUPS},
    }


def test_every_contender_meets_the_same_disks_and_seeds_in_an_order_drawn_by_lot() -> None:
    chosen = plan(repeats=3)
    jobs = chosen.jobs()
    assert len({each.name for each in jobs}) == len(jobs) == len(CONTENDERS) * len(WORKLOADS) * len(PACE) * 3
    met: dict[str, set[tuple[str, str, int]]] = {}
    for each in jobs:
        met.setdefault(each.contender.name, set()).add((each.disk, each.workload.name, each.seed))
    assert len(set(map(frozenset, met.values()))) == 1
    assert [each.name for each in jobs] == [each.name for each in plan(repeats=3).jobs()]
    assert len({each.contender.name for each in jobs[:12]}) > 3


def test_a_plan_always_has_what_is_compared_with_and_refuses_what_there_is_not() -> None:
    assert [each.name for each in plan(contenders=["kyber"]).contenders] == [BASELINE, "kyber"]
    for wrong in ({"contenders": ["cfq"]}, {"workloads": ["nothing"]}, {"disks": ["tape"]}):
        with pytest.raises(NoSuchChoice, match="there are: "):
            plan(**wrong)


def test_some_workloads_have_nothing_to_gain_and_each_says_why_it_is_there() -> None:
    assert {item.mixed for item in WORKLOADS} == {True, False}
    assert all(len(item.why) > 30 for item in (*WORKLOADS, *readahead.CATALOGUE.workloads))
    assert all(len({part.name for part in item.parts}) == len(item.parts) for item in WORKLOADS)


def test_jobs_by_the_clock_are_faster_on_faster_disks_and_do_the_same_work() -> None:
    camera = next(item for item in WORKLOADS if item.name == "reads-camera")
    slow, fast = (script.commands(Job(CONTENDERS[0], camera, disk, 0))[1] for disk in ("sdcard", "emmc"))
    assert "camera,frame=256k,sync=30,ops=60,rate=30 " in slow
    assert "camera,frame=256k,sync=30,ops=60,rate=120 " in fast
    assert "--seed 1$epoch " in slow


@pytest.mark.parametrize("catalogue", [SCHEDULERS, readahead.CATALOGUE], ids=lambda item: item.kind)
def test_the_scripts_are_sound_shell(catalogue: Any, tmp_path: Path) -> None:
    jobs = plan(repeats=1, catalogue=catalogue).jobs()
    jobs += [Job(each, WORKLOADS[0], "emmc", 0) for each in ABLATION]
    scripts = [script.GUEST_FUNCTIONS + script.JOB_SCRIPT, script.guest_script(jobs), cost.script(catalogue.contenders)]
    for text in scripts:
        path = tmp_path / "script"
        path.write_text(text)
        subprocess.run(["sh", "-n", path], check=True)
    assert all(each.name in script.guest_script(jobs) for each in jobs)


def test_a_job_that_fails_in_a_guest_does_not_end_the_others(tmp_path: Path) -> None:
    text = script.guest_script(plan(contenders=["none"], workloads=["light"], disks=["sdcard"], repeats=2).jobs())
    jobs = text.removeprefix(script.GUEST).replace("/out/", f"{tmp_path}/out/")
    (tmp_path / "bin").mkdir()
    for name in ("sh", "mkdir"):  # the others, such as umount, fail
        (tmp_path / "bin" / name).symlink_to(Path(shutil.which(name) or name))
    subprocess.run(["sh", "-e", "-c", jobs], env={"PATH": str(tmp_path / "bin")}, capture_output=True)
    assert len(list(tmp_path.glob("out/*/failed"))) == 4


def test_a_model_that_a_contender_cannot_take_is_refused_before_a_guest_boots(tmp_path: Path) -> None:
    path = tmp_path / "model.kml"
    path.write_bytes(b"no model")
    with pytest.raises(WrongModel, match="shorter than a header; `edgeprof kml train latency` makes one"):
        guest._check_model(path, "mq-kmlib")
    path.write_bytes(tree_file("other", [Feature("size")], [Node(-1, 0, 0)], np.array([[1.0]])))
    with pytest.raises(WrongModel, match="its inputs are size; `edgeprof kml train readahead` makes one"):
        guest._check_model(path, "kml-readahead")
    names = {each.predictor for each in (*CONTENDERS, *ABLATION, *readahead.CATALOGUE.contenders)} - {""}
    assert names == set(guest._PREDICTORS)


def test_a_request_counts_from_when_its_own_task_submitted_it() -> None:
    tasks = np.array([7, 7, 8, 7], np.int64)
    times = np.array([100, 200, 150, 400], np.int64)
    asker = np.array([7, 7, 8, 8, 9], np.int64)
    moment = np.array([205, 199, 9000, 149, 500], np.int64)
    assert trace.last_before(tasks, times, asker, moment).tolist() == [200, 100, 150, -1, -1]


@pytest.mark.parametrize(
    ("rwbs", "length", "expected"),
    [
        (b"R", 4096, "read"),
        (b"RAM", 4096, "read"),
        (b"W", 4096, "writeback"),
        (b"WM", 4096, "writeback"),
        (b"WS", 4096, "sync_write"),
        (b"FWFSM", 4096, "sync_write"),
        (b"FWS", 0, "flush"),
        (b"FF", 0, None),
        (b"D", 4096, None),
    ],
)
def test_requests_are_told_apart_by_who_waits_for_them(rwbs: bytes, length: int, expected: str | None) -> None:
    word = int.from_bytes(rwbs.ljust(8, b"\0"), "little")
    requests = pair(make([1, 2, 3], np.frombuffer(b"GDC", np.uint8), 1, 8 if length else -1, length, word))
    kind = int(trace.class_of(requests)[0])
    assert (trace.CLASSES[kind] if kind >= 0 else None) == expected


def test_figures_are_of_each_class_and_of_those_waited_for() -> None:
    kinds = ["read", "sync_write", "writeback", "flush", None]
    columns = {
        "asked_ns": pa.array([0] * 5),
        "completed_ns": pa.array([10**9, 2 * 10**9, 6 * 10**9, 10**9, 10**12]),
        "bytes": pa.array([4096] * 5),
        "class": pa.array(kinds),
    }
    found = record.figures(pa.table(columns))
    assert found["all"] == {"requests": 3, "bytes": 12288, "late": 2, "mean": 3, "p50": 2, "p99": 5.92, "max": 6}
    assert found["waited"]["mean"] == 1.5
    assert found["flush"]["requests"] == 1
    empty = record.figures(pa.table(columns).slice(4))
    assert (empty["read"]["requests"], empty["read"]["mean"]) == (0, None)


def test_ratios_are_of_pairs_with_the_same_seed() -> None:
    jobs = [job(BASELINE, repeat, mean, 1.0) for repeat, mean in enumerate((1.0, 2.0, 4.0, 8.0, 16.0))]
    jobs += [job("kyber", repeat, mean, 1.0) for repeat, mean in enumerate((0.5, 1.1, 1.9, 4.0))]
    found = ratio(values_of(jobs), "sdcard", "sizes", "kyber", "all", "mean")
    assert found is not None
    assert found.repeats == 4
    assert found.value == pytest.approx(math.exp(np.mean(np.log([0.5, 0.55, 0.475, 0.5]))))
    assert found.low is not None and found.high is not None
    assert found.low < found.value < found.high < 0.6  # by pairs; the means themselves differ thirtyfold
    assert ratio(values_of(jobs), "sdcard", "sizes", "bfq", "all", "mean") is None


def test_workloads_count_alike_however_many_requests_they_have() -> None:
    jobs = [job(BASELINE, repeat, 1.0, 1.0, workload=name) for repeat in range(2) for name in ("sizes", "shuffled")]
    jobs += [job("kyber", repeat, 0.25, 1.0) for repeat in range(2)]
    jobs += [job("kyber", repeat, 1.0, 1.0, workload="shuffled") for repeat in range(2)]
    cells = [("sdcard", "sizes"), ("sdcard", "shuffled"), ("sdcard", "light")]
    found = ratio_over(values_of(jobs), cells, "kyber", "all", "mean")
    assert found is not None
    assert found.value == pytest.approx(0.5)


def judged(mean: float, seconds: float = 1.0, late: int = 0, spread: float = 0.001) -> dict[str, list[bool | None]]:
    """Goals by name for a contender that is so good, against a baseline of 1."""
    noise = (1 - spread, 1.0, 1 + spread)
    jobs = [job(BASELINE, repeat, 1.0, 1.0) for repeat in range(3)]
    jobs += [job("new", repeat, mean * noise[repeat], seconds * noise[repeat], late=late) for repeat in range(3)]
    found: dict[str, list[bool | None]] = {}
    for goal in goals.judge(values_of(jobs), "new", [("sdcard", "sizes")], []):
        found.setdefault(goal.name, []).append(goal.met)
    return found


def test_goals_follow_from_the_figures() -> None:
    assert set(judged(0.7)["gain"]) == {True}
    assert set(judged(0.8)["gain"]) == {False}
    assert set(judged(0.75, spread=0.1)["gain"]) == {None}
    assert set(judged(0.7, seconds=1.05)["completion"]) == {False}
    assert set(judged(0.7, seconds=0.9)["completion"]) == {True}
    assert set(judged(1.2)["tail"]) == {False}
    assert judged(0.7, late=1)["deadline"] == [False]
    assert judged(0.7)["deadline"] == [True]


def test_where_nothing_can_be_gained_nothing_may_be_lost() -> None:
    jobs = [job(BASELINE, repeat, 1.0, 1.0, mixed=False) for repeat in range(3)]
    jobs += [job("new", repeat, mean, 1.0, mixed=False) for repeat, mean in enumerate((1.04, 1.05, 1.06))]
    found = goals.judge(values_of(jobs), "new", [], [("sdcard", "sizes")])
    assert [goal.met for goal in found if goal.name == "nothing lost"] == [False, False]
    assert not [goal for goal in found if goal.name == "gain"]


def test_work_goes_on_where_it_was_left_and_another_plan_is_refused(tmp_path: Path) -> None:
    chosen = plan(contenders=["kyber"], workloads=["sizes"], disks=["sdcard"], repeats=2)
    first, *others = chosen.jobs()
    asked: list[list[Job]] = []

    def runner(jobs: list[Job], logs: Path) -> Any:
        asked.append(jobs)
        for each in jobs:
            left = tmp_path / f"{each.name}-{len(asked)}"
            left.mkdir()
            (left / "printed").write_text("fio: no such file\n")
            yield Ran(each, left)

    told: list[tuple[int, int, str]] = []
    target = tmp_path / "results"
    folder.begin(target, {"plan": chosen.as_dict(), "host": HOST})
    done = target / "runs" / first.name
    done.mkdir(parents=True)
    whole = json.dumps({**record.facts(first), "completion": {"total": 1.0}, "classes": {}})
    (done / record.JOB_FILE).write_text(whole)
    damaged = target / "runs" / others[0].name
    damaged.mkdir()
    (damaged / record.JOB_FILE).write_text(whole[:-3])
    for _ in range(2):  # what failed is tried again
        folder.evaluate(target, chosen, HOST, runner, lambda done, of, about: told.append((done, of, about["failed"])))
    assert asked == [others, others]
    assert told == [(number, 4, "the job failed: fio: no such file") for number in (2, 3, 4)] * 2
    with pytest.raises(NotAnEvaluation, match="another plan"):
        folder.evaluate(target, plan(repeats=7), HOST, runner, lambda *_: None)
    with pytest.raises(NotAnEvaluation, match="is not empty"):
        folder.evaluate(tmp_path, chosen, HOST, runner, lambda *_: None)
    with pytest.raises(NotAnEvaluation, match="holds no evaluation"):
        folder.read_plan(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"name": "x", "failed": nu', '{"name": "x", "failed": null}', "\xff", "[" * 99999]
)
def test_a_damaged_file_is_a_job_that_was_not_done(tmp_path: Path, text: str) -> None:
    jobs = [job(name, repeat, 0.01, 1.0) for name in (BASELINE, "kyber") for repeat in range(2)]
    evaluation(tmp_path / "x", SCHEDULERS, jobs, contenders=["kyber"], workloads=["sizes"], disks=["sdcard"])
    (tmp_path / "x" / "runs" / "sdcard.sizes.kyber.1" / record.JOB_FILE).write_text(text, "latin-1")
    assert save_results(tmp_path / "x").done == 3
    (tmp_path / "x" / folder.PLAN_FILE).write_text(text, "latin-1")
    with pytest.raises(NotAnEvaluation, match="is damaged"):
        save_results(tmp_path / "x")


def test_a_job_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "left").mkdir()
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(CannotWrite, match="No space left"):
        record.record(Job(contender("kyber"), WORKLOADS[0], "sdcard", 0), tmp_path / "left", tmp_path / "run", HOST)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_job_on_a_real_disk_that_hangs_is_ended_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_SECONDS_A_JOB", 0.3)
    path = tmp_path / "printed"
    with path.open("wb") as printed:
        began = time.monotonic()
        assert not device._succeeds(["sh", "-c", "echo begins; sleep 60; echo ends"], os.environ, printed)
        assert time.monotonic() - began < 10
        assert device._succeeds(["true"], os.environ, printed)
        assert not device._succeeds(["false"], os.environ, printed)
    assert path.read_text() == "begins\nit was not done in 0.3 seconds, and was ended\n"


def evaluation(target: Path, catalogue: Any, jobs: list[dict[str, Any]], **chosen: Any) -> None:
    """A folder of results with given figures."""
    folder.begin(target, {"plan": plan(catalogue=catalogue, **chosen).as_dict(), "host": HOST})
    for about in jobs:
        place = target / "runs" / about["name"]
        place.mkdir(parents=True)
        (place / record.JOB_FILE).write_text(json.dumps(about))


def test_results_are_tables_a_figure_and_files(tmp_path: Path) -> None:
    jobs = [job(name, repeat, mean, 1.0) for name, mean in ((BASELINE, 0.01), ("kyber", 0.007)) for repeat in range(3)]
    jobs += [{**job("kyber", 3, 1.0, 1.0), "failed": "the guest hung"}]
    evaluation(tmp_path / "x", SCHEDULERS, jobs, contenders=["kyber"], workloads=["sizes"], disks=["sdcard"])
    results = save_results(tmp_path / "x")
    headings, rows = table.by_cell(results, "sdcard", "sizes")
    assert [row[0] for row in rows] == [BASELINE, "kyber"]
    assert rows[0][headings.index("all")] == "10 ms"
    assert rows[1][headings.index("all")].startswith("0.70")
    assert results.failed == (("sdcard.sizes.kyber.3", "the guest hung"),)
    assert results.done == 6
    page = plot.write_report(results, tmp_path / "x").read_text()
    assert "sdcard, sizes" in page and "Plotly.newPlot" in page
    assert json.loads((tmp_path / "x" / folder.RESULTS_FILE).read_text())["goals"]["kyber"]


def test_the_99th_percentile_of_few_requests_is_not_shown_as_one(tmp_path: Path) -> None:
    few = [job(name, repeat, 0.01, 1.0) for name in (BASELINE, "kyber") for repeat in range(2)]
    for about in few:
        about["classes"]["sync_write"]["requests"] = 20
    evaluation(tmp_path / "x", SCHEDULERS, few, contenders=["kyber"], workloads=["sizes"], disks=["sdcard"])
    headings, rows = table.by_cell(save_results(tmp_path / "x"), "sdcard", "sizes")
    places = [place for place, heading in enumerate(headings) if heading == "p99"]
    assert [rows[1][place] for place in places] == ["1.00", table.NONE]


def test_read_ahead_is_measured_by_the_default_and_by_the_best_fixed_size(tmp_path: Path) -> None:
    seconds = {"8-KiB": 1.0, "128-KiB": 3.0, "1024-KiB": 9.0, readahead.TUNED: 1.1}
    jobs = [
        job(name, repeat, 0.01, value * (1 + repeat / 1000), workload="rows")
        for name, value in seconds.items()
        for repeat in range(3)
    ]
    names = ["8-KiB", "1024-KiB", readahead.TUNED]
    evaluation(tmp_path / "x", readahead.CATALOGUE, jobs, contenders=names, workloads=["rows"], disks=["sdcard"])
    found = readahead.save_outcomes(tmp_path / "x")
    (outcome,) = found.outcomes
    assert outcome.oracle == "8-KiB"
    assert outcome.to_default is not None and outcome.to_oracle is not None
    assert (outcome.to_default.value, outcome.to_oracle.value) == pytest.approx((3 / 1.1, 1 / 1.1))
    assert [(goal.name, goal.met) for goal in found.goals] == [("gain", True), ("near the best", False)]
    assert readahead.table(found.outcomes)[1][0][:4] == ["sdcard", "rows", "3.00 s", "8-KiB"]


def test_a_job_that_was_not_under_its_scheduler_has_no_figures(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    (left / "scheduler").write_text("[none] mq-deadline kyber\n")
    made = record.record(Job(contender("kyber"), WORKLOADS[0], "sdcard", 0), left, tmp_path / "run", HOST)
    assert made["failed"] == "kyber was not in effect at its end"
    assert "classes" not in made


def test_completion_is_told_part_by_part(tmp_path: Path) -> None:
    sizes = next(item for item in WORKLOADS if item.name == "sizes")
    one = Job(contender("kyber"), sizes, "sdcard", 0)
    parts = [("small", 1500, 0, 0), ("large", 700, 0, 0)]
    jobs = [
        {"jobname": name, "error": error, "read": {"runtime": read}, "write": {"runtime": write}}
        for name, read, write, error in parts
    ]
    (tmp_path / "fio.json").write_text(json.dumps({"jobs": jobs}))
    assert record.completion(one, tmp_path) == {"small": 1.5, "large": 0.7, "total": 1.5}
    loader = replace(one, workload=next(item for item in WORKLOADS if item.name == "reads-camera"))
    (tmp_path / "loader-0.json").write_text(json.dumps({"jobs": [{"seconds": 2.5}, {"seconds": 4.0}]}))
    assert record.completion(loader, tmp_path) == {"inference": 2.5, "camera": 4.0, "total": 4.0}
    (tmp_path / "loader-1.json").write_text(json.dumps({"jobs": [{"seconds": 0.5}, {"seconds": 1.0}]}))
    twice = replace(loader, workload=replace(loader.workload, epochs=2))
    assert record.completion(twice, tmp_path) == {"inference": 3.0, "camera": 5.0, "total": 5.0}


def test_instructions_are_what_the_requests_took_of_a_clock_that_counts_them() -> None:
    sides = {"read": {"runtime": 480, "total_ios": 5000}, "write": {"runtime": 470, "total_ios": 3000}}
    assert cost.instructions(json.dumps({"jobs": [sides]}).encode()) == 480e6 / 8 / 8000
