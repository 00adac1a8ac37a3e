"""The evaluation of read-ahead: every fixed size, the kernel's default, and kml-readahead, at fixed work.

What counts is how fast a workload gets its data: its time to completion.  The *oracle* is, for each disk and workload,
the fixed size that turned out best, which nobody can know beforehand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeprof.kmodule.evaluation.folder import RESULTS_FILE, read_jobs, read_plan, write_rows
from edgeprof.kmodule.evaluation.goals import Goal
from edgeprof.kmodule.evaluation.plan import Catalogue, Contender
from edgeprof.kmodule.evaluation.ratios import Ratio, Values, ratio, values_of
from edgeprof.kmodule.evaluation.table import Table, shown
from edgeprof.kmodule.evaluation.workloads import Part, Workload
from edgeprof.kmodule.readahead import CHOICES_KIB
from edgeprof.profiler.files import write_text

DEFAULT_KIB = 128
"""The kernel's own choice (VM_READAHEAD_PAGES, include/linux/mm.h)."""
TUNED = "kml-readahead"
EPOCHS = 5
"""Of each workload: what is learned in the first serves the others."""
GAIN, LOSS, NEAR = 2.5, 0.98, 0.95
"""Throughput: on random reads against the default, on others against it, everywhere against the oracle."""

_PARAMETERS = "/sys/module/kml_readahead/parameters"


def _fixed(kib: int) -> Contender:
    why = "the kernel's default" if kib == DEFAULT_KIB else "a fixed size"
    return Contender(f"{kib} KiB".replace(" ", "-"), "mq-deadline", why, {"read_ahead_kb": str(kib)})


CATALOGUE = Catalogue(
    "readahead",
    "size of read-ahead",
    _fixed(DEFAULT_KIB).name,
    (
        *(_fixed(int(kib)) for kib in CHOICES_KIB),
        Contender(
            TUNED,
            "mq-deadline",
            "as it comes, from the kernel's default on, with a trained model",
            {
                "read_ahead_kb": str(DEFAULT_KIB),
                f"{_PARAMETERS}/devices": "kml_disk",
                f"{_PARAMETERS}/mode": "act",
            },
            ("kml", "kml_readahead"),
            "kml-readahead",
        ),
    ),
    (),
    (
        Workload(
            "sequential",
            "loader",
            False,
            "Shards of records read from beginning to end, as web datasets are.",
            (Part("loader", "sequential,size=64m,shards=4,record=128k", 512),),
            EPOCHS,
        ),
        Workload(
            "shuffled",
            "loader",
            False,
            "Whole images in random order: no file is longer than the default.",
            (Part("loader", "shuffled,files=500,size=110k,workers=2", 500),),
            EPOCHS,
        ),
        Workload(
            "rows",
            "loader",
            True,
            "Random rows of a mapped table: all that is read around a row is read for nothing.",
            (Part("loader", "mmap,size=64m,row=4k", 500),),
            EPOCHS,
        ),
        Workload(
            "records",
            "loader",
            True,
            "Random records of a mapped file, longer than a page and shorter than the default.",
            (Part("loader", "mmap,size=64m,row=16k", 350),),
            EPOCHS,
        ),
    ),
)
"""Of the workloads, those that the default serves badly count as mixed."""


@dataclass(frozen=True)
class Outcome:
    """One workload on one disk.

    Attributes:
        random: whether the default serves it badly.
        oracle: the best fixed size.
        to_default, to_oracle: kml-readahead's throughput over theirs.
        best_to_default: the oracle's.
        seconds: of each contender.
    """

    disk: str
    workload: str
    random: bool
    oracle: str | None
    to_default: Ratio | None
    to_oracle: Ratio | None
    best_to_default: Ratio | None
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """All of it, with the jobs that failed and why."""

    plan: dict[str, Any]
    outcomes: list[Outcome]
    goals: list[Goal]
    failed: tuple[tuple[str, str], ...]


def save_outcomes(folder: Path) -> Found:
    """Read an evaluation's folder, and write results.parquet and results.json there.  Raises NotAnEvaluation."""
    plan, jobs = read_plan(folder)["plan"], read_jobs(folder)
    write_rows(folder, jobs)
    outcomes = outcomes_of(values_of(jobs), plan)
    failed = tuple((job["name"], job["failed"]) for job in jobs if job["failed"])
    found = Found(plan, outcomes, judge(outcomes), failed)
    write_text(folder / RESULTS_FILE, json.dumps(as_dict(found), indent=1) + "\n")
    return found


def as_dict(found: Found) -> dict[str, Any]:
    """As JSON values."""
    return asdict(found)


def outcomes_of(values: Values, plan: Mapping[str, Any]) -> list[Outcome]:
    """What came of each workload on each disk."""
    return [
        _outcome(values, plan, disk, name, bool(about["mixed"]))
        for disk in plan["disks"]
        for name, about in plan["workloads"].items()
    ]


def _outcome(values: Values, plan: Mapping[str, Any], disk: str, workload: str, random: bool) -> Outcome:
    seconds = {}
    for name in plan["contenders"]:
        own = list(values.get((disk, workload, name, "total", "completion"), {}).values())
        if own:
            seconds[name] = sum(own) / len(own)
    fixed = [name for name in seconds if name != TUNED]
    oracle = min(fixed, key=lambda name: seconds[name], default=None)

    def faster(contender: str, base: str | None) -> Ratio | None:
        """Throughput over the other's: the other's time over the contender's."""
        if base is None:
            return None
        return ratio(values, disk, workload, base, "total", "completion", contender)

    return Outcome(
        disk,
        workload,
        random,
        oracle,
        faster(TUNED, plan["baseline"]),
        faster(TUNED, oracle),
        faster(oracle, plan["baseline"]) if oracle else None,
        seconds,
    )


def judge(found: Sequence[Outcome]) -> list[Goal]:
    """Whether kml-readahead is as good as it is to be."""
    judged = []
    for item in found:
        where = f"{item.disk}, {item.workload}"
        if item.to_default is not None:
            name, limit = ("gain", GAIN) if item.random else ("nothing lost", LOSS)
            met = item.to_default.at_least(limit)
            judged.append(Goal(name, where, "throughput over the default's", limit, item.to_default, met))
        if item.to_oracle is not None:
            met = item.to_oracle.at_least(NEAR)
            judged.append(Goal("near the best", where, "throughput over the best fixed", NEAR, item.to_oracle, met))
    return judged


def table(found: Sequence[Outcome]) -> Table:
    """A row a disk and workload."""
    headings = ["disk", "workload", "default", "best fixed", "its gain", TUNED, "its gain", "over the best"]
    rows = [
        [
            item.disk,
            item.workload,
            _time(item.seconds.get(f"{DEFAULT_KIB}-KiB")),
            item.oracle or "-",
            shown(item.best_to_default),
            _time(item.seconds.get(TUNED)),
            shown(item.to_default),
            shown(item.to_oracle),
        ]
        for item in found
    ]
    return headings, rows


def _time(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f} s"
