"""A small evaluation in a guest: the same work under two schedulers, traced, paired and read as captured runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprof.kmodule.errors import ToolMissing
from edgeprof.kmodule.evaluation import folder, guest
from edgeprof.kmodule.evaluation.plan import SCHEDULERS, Plan, contender
from edgeprof.kmodule.evaluation.workloads import Part, Workload
from edgeprof.profiler.run import open_run
from edgeprof.profiler.training_sets.latency import examples_of
from tests.guest.machine import CACHE, NoGuest, debian_kernel

pytestmark = [pytest.mark.guest, pytest.mark.timeout(400)]

READS, READ_BYTES, RECORDS = 150, 16384, 25
WORKLOAD = Workload(
    "smoke",
    "loader",
    True,
    "",
    (
        Part("inference", "inference,size=4m,read=16k,rate=0", READS),
        Part("log", "camera,frame=4k,sync=1", RECORDS, rate=60),
    ),
)
NAMES = ("mq-deadline", "mq-kmlib-untrained")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("evaluation") / "results"
    plan = Plan(SCHEDULERS, tuple(map(contender, NAMES)), (WORKLOAD,), ("sdcard",), repeats=1)
    try:
        machine = guest.Machine(debian_kernel(), CACHE, at_once=1)
        folder.evaluate(target, plan, machine.facts, lambda jobs, logs: guest.run(machine, jobs, logs), lambda *_: None)
    except (NoGuest, ToolMissing) as reason:
        pytest.skip(str(reason))
    folder.evaluate(target, plan, machine.facts, lambda jobs, logs: iter(jobs), lambda *_: pytest.fail("it began anew"))
    return target


@pytest.fixture(scope="module")
def jobs(results: Path) -> dict[str, dict[str, Any]]:
    found = {job["contender"]: job for job in folder.read_jobs(results)}
    assert {name: job["failed"] for name, job in found.items()} == dict.fromkeys(NAMES)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_figures_are_of_the_work_that_was_asked_for(jobs: dict[str, dict[str, Any]], name: str) -> None:
    classes, completion = jobs[name]["classes"], jobs[name]["completion"]
    read = classes["read"]
    assert 100 < read["requests"] <= READS + 100  # some of the 256 places are met again; metadata is read, too
    assert read["mean"] > 249e-6  # what the card takes for a read at least, see disk_classes.c
    assert read["p50"] <= read["p99"] <= read["max"] < completion["total"]
    assert classes["sync_write"]["requests"] >= RECORDS
    assert completion["log"] == pytest.approx((RECORDS - 1) / 60, rel=0.2)
    assert completion["total"] == max(completion["log"], completion["inference"])


def test_what_the_scheduler_said_of_itself_is_kept(jobs: dict[str, dict[str, Any]]) -> None:
    state = jobs["mq-kmlib-untrained"]["state"]
    assert state["mode"].strip() == "act"
    assert "read_dispatched" in state["statistics"]
    assert "fifo_batch" in jobs["mq-deadline"]["state"]


@pytest.mark.parametrize("name", NAMES)
def test_each_job_is_a_run_that_training_sets_are_made_of(results: Path, name: str) -> None:
    run = open_run(results / "runs" / f"sdcard.smoke.{name}.0")
    table = run.arrow("block_io").to_pandas()
    data = table[table["class"].notna() & table["inserted_ns"].notna()]
    times = data[["asked_ns", "inserted_ns", "issued_ns", "completed_ns"]].to_numpy()
    assert bool((np.diff(times, axis=1) >= 0).all())
    examples = examples_of(run, name)
    assert examples.table.num_rows > 150
    assert set(examples.table["op"].to_pylist()) >= {"read", "write"}
