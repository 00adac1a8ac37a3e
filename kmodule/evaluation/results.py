"""What an evaluation of schedulers found, as plain values: comparisons with mq-deadline, goals, and what failed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeprof.kmodule.evaluation import goals
from edgeprof.kmodule.evaluation.folder import RESULTS_FILE, read_jobs, read_plan, write_rows
from edgeprof.kmodule.evaluation.plan import BASELINE
from edgeprof.kmodule.evaluation.ratios import Key, Ratio, Values, ratio, ratio_over, values_of
from edgeprof.kmodule.evaluation.trace import CLASSES
from edgeprof.profiler.files import write_text

FIGURES = (
    ("total", "completion"),
    ("all", "mean"),
    ("waited", "mean"),
    *((name, figure) for name in CLASSES for figure in ("requests", "mean", "p50", "p99", "max")),
)
"""What is compared: of what, and which figure."""


OVER = ""
"""Stands for the disk where a ratio is over all workloads of a kind: `MIXED` or `OTHERS`."""
MIXED, OTHERS = "mixed", "other"


@dataclass(frozen=True)
class Results:
    """What was found.

    Attributes:
        plan: as in plan.json.
        cells: disk, workload, and whether there is something to gain.
        compared: ratios to mq-deadline, by disk, workload, contender, of what, and figure.
        done: jobs with figures.
        failed: job and reason.
        goals: contender -> its goals.
    """

    plan: dict[str, Any]
    cells: tuple[tuple[str, str, bool], ...]
    contenders: tuple[str, ...]
    done: int
    failed: tuple[tuple[str, str], ...]
    values: Values
    compared: Mapping[Key, Ratio]
    goals: dict[str, list[goals.Goal]]

    def late(self, disk: str, workload: str, contender: str) -> int:
        """The most requests of one repeat that were past their bound."""
        found = [
            value
            for of in ("read", "sync_write", "writeback")
            for value in self.values.get((disk, workload, contender, of, "late"), {}).values()
        ]
        return int(max(found, default=0))


def read_results(folder: Path) -> Results:
    """Compare what is in an evaluation's folder.  Raises NotAnEvaluation."""
    plan = read_plan(folder)["plan"]
    jobs = read_jobs(folder)
    cells = tuple(
        (disk, name, bool(about["mixed"])) for disk in plan["disks"] for name, about in plan["workloads"].items()
    )
    values = values_of(jobs)
    contenders = tuple(plan["contenders"])
    mixed = [(disk, name) for disk, name, gains in cells if gains]
    others = [(disk, name) for disk, name, gains in cells if not gains]
    return Results(
        plan=plan,
        cells=cells,
        contenders=contenders,
        done=sum(not job["failed"] for job in jobs),
        failed=tuple((job["name"], job["failed"]) for job in jobs if job["failed"]),
        values=values,
        compared=_compared(values, cells, contenders, mixed, others),
        goals={name: goals.judge(values, name, mixed, others) for name in contenders if name != BASELINE},
    )


def _compared(
    values: Values,
    cells: Sequence[tuple[str, str, bool]],
    contenders: Sequence[str],
    mixed: Sequence[goals.Cell],
    others: Sequence[goals.Cell],
) -> dict[Key, Ratio]:
    found: dict[Key, Ratio | None] = {}
    for contender in contenders:
        for of, figure in FIGURES:
            for disk, workload, _ in cells:
                key = (disk, workload, contender, of, figure)
                found[key] = ratio(values, *key)
            for kind, chosen in ((MIXED, mixed), (OTHERS, others)):
                found[OVER, kind, contender, of, figure] = ratio_over(values, chosen, contender, of, figure)
    return {key: one for key, one in found.items() if one is not None}


_KEY = ("disk", "workload", "contender", "of", "figure")


def save_results(folder: Path) -> Results:
    """Read, compare, and write results.parquet and results.json."""
    results = read_results(folder)
    write_rows(folder, read_jobs(folder))
    write_text(folder / RESULTS_FILE, json.dumps(as_dict(results), indent=1) + "\n")
    return results


def as_dict(results: Results) -> dict[str, Any]:
    """As JSON values."""
    return {
        "plan": results.plan,
        "done": results.done,
        "failed": [{"job": name, "reason": reason} for name, reason in results.failed],
        "compared": [{**dict(zip(_KEY, key, strict=True)), **asdict(one)} for key, one in results.compared.items()],
        "goals": {name: [asdict(goal) for goal in goals] for name, goals in results.goals.items()},
    }
