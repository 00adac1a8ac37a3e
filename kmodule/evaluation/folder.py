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
from edgeprof.profiler.files import CannotWrite, replacing, write_text

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
        CannotWrite: it does not let itself be written to.
    """
    begin(folder, {"plan": plan.as_dict(), "host": host})
    jobs = plan.jobs()
    left = [job for job in jobs if not is_done(folder, job)]
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    done = len(jobs) - len(left)
    for ran in runner(left, logs):
        content = record(ran.job, ran.left, folder / "runs" / ran.job.name, host, keep_raw)
        done += 1
        tell(done, len(jobs), content)


def begin(folder: Path, content: dict[str, Any]) -> None:
    """Write the plan, or see that the one that is there is the same.  Raises NotAnEvaluation, CannotWrite."""
    path = folder / PLAN_FILE
    if path.exists():
        if read_plan(folder) != json.loads(json.dumps(content)):
            raise NotAnEvaluation(folder, "holds an evaluation by another plan: name another folder")
        return
    try:
        if folder.exists() and any(folder.iterdir()):
            raise NotAnEvaluation(folder, "is not empty, and holds no evaluation: name another folder")
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(folder, error) from None
    write_text(path, json.dumps(content, indent=1) + "\n")


def read_plan(folder: Path) -> dict[str, Any]:
    """What `begin` wrote.  Raises NotAnEvaluation."""
    path = folder / PLAN_FILE
    if not path.is_file():
        raise NotAnEvaluation(folder, "holds no evaluation: name a folder that `edgeprof kml bench` was given with -o")
    content = _read(path)
    if content is None or not _is_plan(content.get("plan")) or not isinstance(content.get("host"), dict):
        raise NotAnEvaluation(folder, f"holds an evaluation whose {PLAN_FILE} is damaged: make a new one elsewhere")
    return content


def _is_plan(plan: object) -> bool:
    """Whether it has the shape that its readers rely on."""
    return (
        isinstance(plan, dict)
        and all(isinstance(plan.get(name), str) for name in ("kind", "baseline"))
        and all(_is_dict_of(plan.get(name), dict) for name in ("contenders", "workloads"))
        and all("mixed" in workload for workload in plan["workloads"].values())
        and isinstance(plan.get("disks"), list)
        and all(isinstance(disk, str) for disk in plan["disks"])
    )


def is_done(folder: Path, job: Job) -> bool:
    """Whether a job has its figures: one that failed, or whose file is damaged, is tried again."""
    content = _read_job(folder / "runs" / job.name / JOB_FILE)
    return content is not None and not content["failed"]


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The figures of all jobs that were done, failed ones among them, by name; one whose file is damaged was not."""
    found = (_read_job(path) for path in sorted((folder / "runs").glob(f"*/{JOB_FILE}")))
    return [content for content in found if content is not None]


def _read_job(path: Path) -> dict[str, Any] | None:
    content = _read(path)
    if content is None or not all(isinstance(content.get(key), str) for key in _NAMES) or "failed" not in content:
        return None
    if content["failed"]:
        return content if isinstance(content["failed"], str) else None
    completion, classes = content.get("completion"), content.get("classes")
    whole = (
        isinstance(content.get("repeat"), int)
        and _is_dict_of(completion, int | float)
        and _is_dict_of(classes, dict)
        and all(_is_dict_of(figures, int | float | None) for figures in content["classes"].values())
    )
    return content if whole else None


_NAMES = ("name", "disk", "workload", "contender")


def _is_dict_of(value: object, kind: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(item, kind) for item in value.values())


def _read(path: Path) -> dict[str, Any] | None:
    """An object of JSON; None: it is not there, or damaged."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def write_rows(folder: Path, jobs: Iterable[dict[str, Any]]) -> Path:
    """All figures as one table: disk, workload, contender, repeat, of (a class, or a part of the workload), figure,
    value.  A figure that there is not has null."""
    rows = [row for job in jobs for row in rows_of(job)]
    columns = ("disk", "workload", "contender", "repeat", "of", "figure", "value")
    kinds = (pa.string(),) * 3 + (pa.int32(),) + (pa.string(),) * 2 + (pa.float64(),)
    arrays = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(kinds)]
    path = folder / ROWS_FILE
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_arrays(arrays, list(columns)), temporary)
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
