"""A plan and a status as plain values: what ``--json`` prints and tables are made of."""

from __future__ import annotations

from typing import Any

from edgeprof.profiler.matrix.estimate import Estimate, Estimator
from edgeprof.profiler.matrix.folder import MatrixFolder
from edgeprof.profiler.matrix.plan import Plan
from edgeprof.profiler.matrix.state import Ended, read_state


def plan_told(plan: Plan, estimator: Estimator, folder: MatrixFolder) -> dict[str, Any]:
    """A plan with the estimate of each cell: ``seconds`` and ``bytes`` of one run, and of all."""
    guesses = estimator.all()
    repeats = plan.spec.repeats
    return {
        "name": plan.spec.name,
        "folder": str(folder.path),
        "axes": {name: plan.spec.levels_of(name) for name in plan.spec.axes},
        "repeats": repeats,
        "runs": repeats * len(plan.cells),
        "seconds": repeats * sum(guess.seconds for guess in guesses.values()),
        "bytes": repeats * sum(guess.bytes for guess in guesses.values()),
        "cells": [
            {
                "id": cell.id,
                "levels": dict(cell.levels),
                "command": ["edgeprof", "run", *cell.words],
                "seconds": guesses[cell.id].seconds,
                "bytes": guesses[cell.id].bytes,
                "estimate": guesses[cell.id].source,
            }
            for cell in plan.cells
        ],
        "left_out": [{"levels": dict(item.levels), "reason": item.reason} for item in plan.left_out],
    }


def status_told(folder: MatrixFolder) -> dict[str, Any]:
    """How far a matrix is; ``seconds_left`` is the estimate of `Estimator`, a cell's ``seconds`` are measured.

    Raises:
        NoMatrix: there is none in the folder.
    """
    progress = read_state(folder.path)
    done = failed = left = 0
    rest = 0.0
    cells: list[dict[str, Any]] = []
    fixed = progress.plan["fixed"]
    guesses = Estimator({cell: {**fixed, **levels} for cell, levels in progress.cells.items()}, progress).all()
    ended = progress.by_cell()
    for cell, levels in progress.cells.items():
        mine = progress.counts(cell)
        done, failed, left = done + mine[0], failed + mine[1], left + mine[2]
        rest += mine[2] * guesses[cell].seconds
        cells.append(_cell(cell, levels, ended.get(cell, []), mine, guesses[cell]))
    return {
        "name": progress.plan["name"],
        "folder": str(folder.path),
        "axes": progress.plan["axes"],
        "repeats": progress.plan["repeats"],
        "done": done,
        "failed": failed,
        "left": left,
        "seconds": progress.seconds,
        "seconds_left": rest,
        "bytes": folder.bytes(),
        "cells": cells,
        "left_out": progress.plan["left_out"],
    }


def _cell(
    cell: str, levels: dict[str, str], ended: list[Ended], counts: tuple[int, int, int], guess: Estimate
) -> dict[str, Any]:
    problems = [end.failed for end in ended if end.failed]
    return {
        "id": cell,
        "levels": levels,
        "done": counts[0],
        "failed": counts[1],
        "left": counts[2],
        "seconds": guess.seconds if guess.source == "measured" else None,
        "problem": problems[-1] if problems else None,
    }
