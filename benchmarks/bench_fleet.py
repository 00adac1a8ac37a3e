"""What a fleet costs beside its runs: planning 10,000 cells, and dispatching them over 100 boards that do nothing.

The runs are no-ops, done by the same proxies, events and state file as real ones, every line of it on the disk before
what rests on it is done.  The same cells one after the other, without Dask, show what the fleet adds.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from common import ROOT, machine, progress, spread, table

sys.path.insert(0, str(ROOT))
from edgeprof.cli.matrix import refusal_on, run_axes
from edgeprof.profiler.fleet.cluster import fleet_here
from edgeprof.profiler.fleet.foretell import wall_time
from edgeprof.profiler.fleet.proxy import Control
from edgeprof.profiler.fleet.shelf import Shelf
from edgeprof.profiler.matrix.child import Stops
from edgeprof.profiler.matrix.execute import How, run_matrix
from edgeprof.profiler.matrix.executor import Began, Event
from edgeprof.profiler.matrix.folder import MatrixFolder
from edgeprof.profiler.matrix.one_run import Job, Over
from edgeprof.profiler.matrix.placement import HERE, Board
from edgeprof.profiler.matrix.plan import Cell, Plan, make_plan
from edgeprof.profiler.matrix.spec import read_spec
from edgeprof.profiler.matrix.state import Ended, read_state

PLANNED, OVERHEAD = 10.0, 0.020
"""Seconds to plan all cells; of overhead a cell."""


class Silent:
    """Shows nothing."""

    def say(self, line: str) -> None:
        progress(line)

    def begin(self, cell: Cell, repeat: int, board: str, done: int, total: int, left: float) -> None:
        if done % 1000 == 0:
            progress(f"{done} of {total}")

    def tick(self) -> None:
        return

    def end(self, cell: Cell, repeat: int, end: Ended) -> None:
        return


class NoRun:
    """A run that does nothing."""

    def __call__(self, job: Job, control: Control) -> Over:
        control.began(job, os.getpid(), 1)
        return _over(job)


class Serial:
    """The same without Dask: one after the other."""

    boards = (HERE,)

    def begin(self, jobs: Sequence[Job]) -> None:
        (self._job,) = jobs

    def wait(self, stops: Stops, tick: Callable[[], None]) -> Sequence[Event]:
        return [Began(self._job.key, os.getpid(), 1), _over(self._job)]


def _over(job: Job) -> Over:
    return Over(job.key, job.board, Ended(f"{job.name}-run", 0, 1.0, 1000, board=job.board), 0)


def plan_of(folder: Path, cells: int, boards: Sequence[Board]) -> tuple[Plan, float]:
    """A plan as ``edgeprof matrix plan --boards`` makes it, and the seconds that took."""
    kinds = sorted({board.kind for board in boards})
    each = max(1, cells // (2 * len(kinds)))
    path = folder / "m.yaml"
    path.write_text(
        f"command: [python3, train.py, --lr, '{{lr}}']\nrepeats: 1\naxes:\n"
        f"  board: {json.dumps(kinds)}\n  cpus: [1, 2]\n  lr: {json.dumps(list(range(each)))}\n"
    )
    began = time.perf_counter()
    plan = make_plan(read_spec(path, run_axes()), refusal_on(boards))
    due = [(cell.id, repeat) for repeat, cell in plan.order()]
    wall_time(plan, due, boards, {cell.id: 30.0 for cell in plan.cells})
    return plan, time.perf_counter() - began


def serially(plan: Plan, folder: Path) -> float:
    """Seconds a cell."""
    began = time.perf_counter()
    result = run_matrix(plan, MatrixFolder(folder), How(), Silent(), Serial())
    assert result.done == len(plan.cells)
    return (time.perf_counter() - began) / len(plan.cells)


def dispatched(plan: Plan, folder: Path, boards: Sequence[Board]) -> tuple[float, float, float]:
    """Seconds to start the fleet; seconds and CPU seconds a cell from the first to the last."""
    began = time.perf_counter()
    with fleet_here(Shelf(tuple(boards)), NoRun()) as executor:
        ready, cpu = time.perf_counter(), time.process_time()
        result = run_matrix(plan, MatrixFolder(folder), How(), Silent(), executor)
        seconds, cpu = time.perf_counter() - ready, time.process_time() - cpu
    count = len(plan.cells)
    assert (result.done, len(read_state(folder).ended)) == (count, count)
    return ready - began, seconds / count, cpu / count


def main() -> int:
    """Print the figures as Markdown; 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=100)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    boards = [Board(f"board-{number:03d}", ("orin", "pi5")[number % 2]) for number in range(options.boards)]
    planned, serial, starts, fleet, cpu = [], [], [], [], []
    for repeat in range(options.repeats):
        progress(f"repeat {repeat + 1} of {options.repeats}")
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plan, seconds = plan_of(folder, options.cells, boards)
            planned.append(seconds)
            serial.append(serially(plan, folder / "serial"))
            found = dispatched(plan, folder / "fleet", boards)
            for values, value in zip((starts, fleet, cpu), found, strict=True):
                values.append(value)
    print(machine())
    print(f"\n{len(plan.cells)} cells, {options.boards} boards, {options.repeats} repeats: median (least to largest)\n")
    rows = [
        ["plan all cells, s", spread(planned), f"< {PLANNED:.0f}"],
        ["start the fleet, s", spread(starts), ""],
        ["dispatch a cell over the fleet, ms", spread(fleet, 2, 1e3), f"< {OVERHEAD * 1e3:.0f}"],
        ["processor time of that, ms", spread(cpu, 2, 1e3), ""],
        ["dispatch a cell serially, ms", spread(serial, 2, 1e3), ""],
    ]
    print(table(["figure", "measured", "limit"], rows))
    return int(max(planned) >= PLANNED or max(fleet) >= OVERHEAD)


if __name__ == "__main__":
    sys.exit(main())
