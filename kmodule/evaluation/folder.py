"""An evaluation's folder: the plan, a captured run for each job, and all figures in one table; work goes on where it
was left.

    plan.json         what is to be done, on what machine
    runs/NAME/        a job: manifest.json, tables/block_io.parquet, job.json
    logs/             consoles of guests
    results.parquet   a row a job and figure; results.json: comparisons and goals
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from edgeprof.kmodule.evaluation.errors import NotAnEvaluation
from edgeprof.kmodule.evaluation.plan import Job, Plan
from edgeprof.kmodule.evaluation.record import JOB_FILE, record

PLAN_FILE = "plan.json"
ROWS_FILE, RESULTS_FILE = "results.parquet", "results.json"

Runner = Callable[[list[Job], Path], Iterable[Any]]
"""Runs jobs, and gives what each left (`edgeprof.kmodule.evaluation.guest.Ran`); the folder is for logs."""
Tell = Callable[[int, int, dict[str, Any]], None]
"""Told after each job: how many are done, of how many, and the job's figures."""


def evaluate(
    folder: Path, plan: Plan, host: dict[str, Any], runner: Runner, tell: Tell, keep_raw: bool = False
) -> None:
    """Do what the plan says and has not been done yet, or failed.

    Raises:
        NotAnEvaluation: the folder holds something else, or an evaluation by another plan.
    """
    begin(folder, {"plan": plan.as_dict(), "host": host})
    jobs = plan.jobs()
    left = [job for job in jobs if not _is_done(folder, job)]
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    done = len(jobs) - len(left)
    for ran in runner(left, logs):
        content = record(ran.job, ran.left, folder / "runs" / ran.job.name, host, keep_raw)
        done += 1
        tell(done, len(jobs), content)


def begin(folder: Path, content: dict[str, Any]) -> None:
    """Write the plan, or see that the one that is there is the same.  Raises NotAnEvaluation."""
    path = folder / PLAN_FILE
    if path.exists():
        if read_plan(folder) != json.loads(json.dumps(content)):
            raise NotAnEvaluation(folder, "holds an evaluation by another plan: name another folder")
        return
    if folder.exists() and any(folder.iterdir()):
        raise NotAnEvaluation(folder, "is not empty, and holds no evaluation: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")


def read_plan(folder: Path) -> dict[str, Any]:
    """What `begin` wrote.  Raises NotAnEvaluation."""
    try:
        content = json.loads((folder / PLAN_FILE).read_text())
    except (OSError, ValueError):
        raise NotAnEvaluation(folder, "holds no evaluation") from None
    if not isinstance(content, dict):
        raise NotAnEvaluation(folder, "holds no evaluation")
    return content


def _is_done(folder: Path, job: Job) -> bool:
    """A job that failed is tried again."""
    path = folder / "runs" / job.name / JOB_FILE
    return path.is_file() and not json.loads(path.read_text())["failed"]


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The figures of all jobs that were done, failed ones among them, by name."""
    return [json.loads(path.read_text()) for path in sorted((folder / "runs").glob(f"*/{JOB_FILE}"))]


def write_rows(folder: Path, jobs: Iterable[dict[str, Any]]) -> Path:
    """All figures as one table: disk, workload, contender, repeat, of (a class, or a part of the workload), figure,
    value.  A figure that there is not has null."""
    rows = [row for job in jobs for row in rows_of(job)]
    columns = ("disk", "workload", "contender", "repeat", "of", "figure", "value")
    kinds = (pa.string(),) * 3 + (pa.int32(),) + (pa.string(),) * 2 + (pa.float64(),)
    arrays = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(kinds)]
    path = folder / ROWS_FILE
    pq.write_table(pa.Table.from_arrays(arrays, list(columns)), path)
    return path


def rows_of(job: dict[str, Any]) -> list[tuple[str, str, str, int, str, str, float | None]]:
    """One job's figures."""
    if job["failed"]:
        return []
    key = (job["disk"], job["workload"], job["contender"], job["repeat"])
    rows = [(*key, part, "completion", seconds) for part, seconds in job["completion"].items()]
    for name, figures in job["classes"].items():
        rows += [(*key, name, figure, value) for figure, value in figures.items()]
    return rows
