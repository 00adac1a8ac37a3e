"""Which boards serve which cells, and how long a matrix takes with them, before anything is run."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeprof.profiler.matrix.errors import WrongMatrix
from edgeprof.profiler.matrix.estimate import Estimator
from edgeprof.profiler.matrix.placement import BOARD, Board, Placement, boards_of, unserved
from edgeprof.profiler.matrix.plan import Plan
from edgeprof.profiler.matrix.state import Key, Progress


def refuse_mixture(plan: Plan, boards: Sequence[Board]) -> None:
    """Cells that name no board run on any, so that all must be of one kind.

    Raises:
        WrongMatrix: they are of several.
    """
    kinds = sorted({board.kind for board in boards})
    if len(kinds) > 1 and any(cell.options.get(BOARD) is None for cell in plan.cells):
        shown = ", ".join(kinds)
        raise WrongMatrix(
            f"{plan.spec.path}: the boards are of several kinds ({shown}), and cells do not say which they need; add an"
            f" axis, `{BOARD}: [{shown}]`, or fix one, `fixed: {{{BOARD}: {kinds[0]}}}`"
        )


def wall_time(
    plan: Plan,
    due: Iterable[Key],
    boards: Sequence[Board],
    seconds: Mapping[str, float],
    pins: Mapping[str, str] | None = None,
) -> float:
    """Seconds from the first run's begin to the last one's end: the very placement, played with the estimates.

    Args:
        plan: what is to be run.
        due: which runs of it are left.
        boards: those there are.
        seconds: of one run, by the cell's id.
        pins: the board of each cell that has run on one.
    """
    placement = Placement(plan.order(), due, boards, pins)
    free = [board.name for board in boards]
    running: list[tuple[float, str]] = []
    now = 0.0
    while True:
        for board in free:
            found = placement.take(board)
            if found is not None:
                heapq.heappush(running, (now + seconds[found[0].id], board))
        if not running:
            return now
        now, board = heapq.heappop(running)
        free = [board]


def fleet_told(plan: Plan, boards: Sequence[Board], estimator: Estimator, progress: Progress) -> dict[str, Any]:
    """What a plan comes to on boards, as plain values.

    ``boards``: how many cells each may run; ``unserved``: why a cell has none, by its id; ``wall_seconds``: from begin
    to end of what is left.

    Raises:
        WrongMatrix: cells do not say which kind of board they need.
    """
    refuse_mixture(plan, boards)
    served = {board.name: 0 for board in boards}
    for cell in plan.cells:
        for board in boards_of(cell, boards):
            served[board.name] += 1
    due = [(cell.id, repeat) for repeat, cell in plan.order() if (cell.id, repeat) not in progress.ended]
    seconds = {cell: estimate.seconds for cell, estimate in estimator.all().items()}
    return {
        "boards": [{"name": board.name, "kind": board.kind, "cells": served[board.name]} for board in boards],
        "unserved": unserved(plan.cells, boards),
        "wall_seconds": wall_time(plan, due, boards, seconds, progress.pins()),
    }
