"""What a job left becomes a captured run: manifest, the table block_io, and job.json with the job's figures.

So every reader of runs reads jobs too: a folder of them is a source of training sets (docs/datasets.md).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edgeprof import __version__
from edgeprof.kmodule.evaluation import trace
from edgeprof.kmodule.evaluation.errors import NoTrace
from edgeprof.kmodule.evaluation.plan import Job
from edgeprof.kmodule.evaluation.script import LOADER_FILE
from edgeprof.profiler.files import replacing, write_text
from edgeprof.profiler.run import SCHEMA_VERSION

JOB_FILE = "job.json"
BOUNDS = {"read": 0.5, "sync_write": 5.0, "writeback": 5.0}
"""Seconds after which a request of a class is late: mq-deadline's own defaults (read_expire, write_expire)."""
DATA = ("read", "sync_write", "writeback")
WAITED_FOR = ("read", "sync_write")
GROUPS: Mapping[str, tuple[str, ...]] = {**{name: (name,) for name in trace.CLASSES}, "all": DATA, "waited": WAITED_FOR}
"""Whose requests each set of figures is over: each class, all that move data, those that somebody waits for."""


def record(job: Job, left: Path, target: Path, host: Mapping[str, Any], keep_raw: bool = False) -> dict[str, Any]:
    """Make ``target`` of what a job left in a folder; returns the content of job.json.

    A job that failed, or whose trace cannot be believed, has ``failed`` with the reason and no figures.  job.json is
    written last: where it is whole, the rest is.

    Raises:
        CannotWrite: there is no room, or no right to write there.
    """
    content = facts(job)
    target.mkdir(parents=True, exist_ok=True)
    try:
        if (left / "failed").exists() or not (left / "scheduler").exists():
            raise NoTrace(f"the job failed: {_last_line(left / 'printed')}")
        if f"[{job.contender.scheduler}]" not in (left / "scheduler").read_text():
            raise NoTrace(f"{job.contender.scheduler} was not in effect at its end")
        content["completion"] = completion(job, left)
        table = trace.requests_of(left / "raw", host["device"])
        content["classes"] = figures(table)
        content["state"] = _state(left)
        (target / "tables").mkdir(exist_ok=True)
        with replacing(target / "tables" / "block_io.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")
        start, end = pc.min(table["asked_ns"]).as_py(), pc.max(table["completed_ns"]).as_py()
        write_text(target / "manifest.json", json.dumps(manifest(job, host, start, end), indent=1) + "\n")
        if keep_raw:
            shutil.copytree(left / "raw", target / "raw", dirs_exist_ok=True)
    except (NoTrace, OSError, KeyError, ValueError) as error:
        content["failed"] = str(error) or type(error).__name__
    write_text(target / JOB_FILE, json.dumps(content, indent=1) + "\n")
    return content


def facts(job: Job) -> dict[str, Any]:
    """What a job is; its figures are added."""
    return {
        "name": job.name,
        "disk": job.disk,
        "workload": job.workload.name,
        "mixed": job.workload.mixed,
        "contender": job.contender.name,
        "repeat": job.repeat,
        "failed": None,
    }


def completion(job: Job, left: Path) -> dict[str, float]:
    """Seconds until each part had done its work, and ``total`` until all had."""
    if job.workload.program == "fio":
        parts = json.loads((left / "fio.json").read_text())["jobs"]
        failed = [part["jobname"] for part in parts if part["error"]]
        if failed:
            raise NoTrace(f"fio: {failed[0]} ended with an error")
        found = {part["jobname"]: max(part["read"]["runtime"], part["write"]["runtime"]) / 1e3 for part in parts}
    else:
        found = dict.fromkeys((part.name for part in job.workload.parts), 0.0)
        for epoch in range(job.workload.epochs):
            parts = json.loads((left / f"{LOADER_FILE}-{epoch}.json").read_text())["jobs"]
            for part, told in zip(job.workload.parts, parts, strict=True):
                found[part.name] += float(told["seconds"])
    if set(found) != {part.name for part in job.workload.parts}:
        raise NoTrace("not all parts of the workload told when they ended")
    return {**found, "total": max(found.values())}


def figures(table: pa.Table) -> dict[str, dict[str, float | int | None]]:
    """Of each of `GROUPS`: requests, bytes, late ones, and mean, p50, p99 and max of the latency in seconds."""
    latency = (np.asarray(table["completed_ns"]) - np.asarray(table["asked_ns"])) / 1e9
    length = np.asarray(table["bytes"])
    kinds = np.array(table["class"].to_pylist(), object)
    bounds = np.array([BOUNDS.get(kind or "", np.inf) for kind in kinds.tolist()])
    found: dict[str, dict[str, float | int | None]] = {}
    for name, members in GROUPS.items():
        rows = np.isin(kinds, members)
        own = latency[rows]
        late = int((own > bounds[rows]).sum())
        found[name] = {"requests": len(own), "bytes": int(length[rows].sum()), "late": late, **_summary(own)}
    return found


def _summary(values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float | None]:
    if not len(values):
        return dict.fromkeys(("mean", "p50", "p99", "max"))
    p50, p99 = np.quantile(values, (0.5, 0.99)).tolist()
    return {"mean": float(values.mean()), "p50": p50, "p99": p99, "max": float(values.max())}


def manifest(job: Job, host: Mapping[str, Any], start_ns: int, end_ns: int) -> dict[str, Any]:
    """A manifest as `edgeprof.profiler.run` reads it."""
    device = {
        "name": host["device"],
        "model": job.disk,
        "class": job.disk,
        "stacked": False,
        "scheduler": job.contender.scheduler,
    }
    return {
        "schema": SCHEMA_VERSION,
        "edgeprof": __version__,
        "run": {
            "id": job.name,
            "name": job.workload.name,
            "command": [job.workload.program, job.workload.name],
            "status": "finished",
            "exit_code": 0,
            "start_ns": start_ns,
            "end_ns": end_ns,
            "wall_time": (end_ns - start_ns) / 1e9,
        },
        "factors": {
            "storage": {"device": job.disk, "scheduler": job.contender.name},
            "matrix": {"name": "schedulers", "cell": job.name, "repeat": str(job.repeat)},
        },
        "host": {
            "hostname": f"{host['machine']} {job.disk}",
            "kernel": host["kernel"],
            "devices": {host["number"]: device},
        },
        "collectors": [
            {"name": "block", "state": "finished", "mode": "full", "lost": 0, "details": {"backend": "tracefs"}}
        ],
        "overhead": {},
    }


def _state(left: Path) -> dict[str, str]:
    """What the scheduler said of itself at the end: small files that the script saved."""
    folder = left / "state"
    return {path.name: path.read_text() for path in sorted(folder.glob("*"))} if folder.is_dir() else {}


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").split("\n") if path.exists() else []
    return next((line for line in reversed(lines) if line.strip()), "it said nothing")
