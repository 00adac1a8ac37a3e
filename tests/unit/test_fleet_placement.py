"""Runs go to boards in the plan's order, and a cell's repeats stay on one board."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.cli.matrix import run_axes
from edgeprof.profiler.fleet.foretell import refuse_mixture, wall_time
from edgeprof.profiler.matrix.axes import Axis
from edgeprof.profiler.matrix.errors import WrongMatrix
from edgeprof.profiler.matrix.execute import placed_words
from edgeprof.profiler.matrix.placement import HERE, Board, Placement, unserved
from edgeprof.profiler.matrix.plan import Plan, make_plan
from edgeprof.profiler.matrix.spec import MatrixSpec
from edgeprof.profiler.matrix.state import Key

SHELF = [Board("a1", "a"), Board("a2", "a"), Board("b1", "b")]


def plan_of(count: int, boards: Sequence[Any] = (), repeats: int = 3, seed: int = 0) -> Plan:
    """A plan over an axis of numbers, and one of boards."""
    axes: dict[str, tuple[Any, ...]] = {"word": tuple(range(count))}
    known = {"word": Axis("word")}
    if boards:
        axes["board"], known["board"] = tuple(boards), run_axes()["board"]
    spec = MatrixSpec(Path("m.yaml"), "m", ("echo", "{word}"), axes, {}, known, repeats=repeats, seed=seed)
    return make_plan(spec, lambda words: None)


def all_of(plan: Plan) -> list[Key]:
    return [(cell.id, repeat) for repeat, cell in plan.order()]


def drained(placement: Placement, boards: Sequence[str]) -> list[tuple[Key, str]]:
    """Every run and its board, the boards taking turns."""
    found = []
    while True:
        taken = [(board, placement.take(board)) for board in boards]
        if not any(run for _, run in taken):
            return found
        found += [((run[0].id, run[1]), board) for board, run in taken if run]


def boards_by_cell(runs: Sequence[tuple[Key, str]]) -> Mapping[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for (cell, _), board in runs:
        found[cell].add(board)
    return found


def test_one_board_runs_everything_in_the_plans_order() -> None:
    plan = plan_of(20, seed=5)
    runs = drained(Placement(plan.order(), all_of(plan), [HERE]), [""])
    assert [key for key, _ in runs] == all_of(plan)


@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 4), st.integers(0, 9))
def test_every_run_is_taken_once_and_cells_stay_where_they_began(
    cells: int, repeats: int, boards: int, seed: int
) -> None:
    plan = plan_of(cells, repeats=repeats, seed=seed)
    shelf = [Board(f"x{number}", "x") for number in range(boards)]
    runs = drained(Placement(plan.order(), all_of(plan), shelf), [board.name for board in shelf])
    assert sorted(key for key, _ in runs) == sorted(all_of(plan))
    assert all(len(found) == 1 for found in boards_by_cell(runs).values())
    places = {key: place for place, key in enumerate(all_of(plan))}
    for board in shelf:
        mine = [places[key] for key, on in runs if on == board.name]
        assert mine == sorted(mine), "each board goes through rounds of random permutations"


def test_a_cell_goes_to_the_board_or_kind_that_it_names() -> None:
    plan = plan_of(4, ["a1", "a", "b"])
    runs = drained(Placement(plan.order(), all_of(plan), SHELF), ["a1", "a2", "b1"])
    assert len(runs) == 36
    wanted = {cell.id: cell.levels["board"] for cell in plan.cells}
    allowed = {"a1": {"a1"}, "a": {"a1", "a2"}, "b": {"b1"}}
    assert all(boards <= allowed[wanted[cell]] for cell, boards in boards_by_cell(runs).items())


def test_this_machine_runs_cells_for_any_board_that_they_name() -> None:
    plan = plan_of(2, ["a1", "pi"], repeats=2)
    pins = {cell.id: str(cell.options["board"]) for cell in plan.cells}
    placement = Placement(plan.order(), all_of(plan), [HERE], pins)
    assert unserved(plan.cells, [HERE]) == {}
    assert placement.astray() == {}
    assert [key for key, _ in drained(placement, [""])] == all_of(plan)


def test_what_no_board_serves_is_named() -> None:
    plan = plan_of(2, ["a", "orin-nx", "b2"])
    told = unserved(plan.cells, SHELF)
    reasons = {cell.levels["board"]: told.get(cell.id, "") for cell in plan.cells}
    assert reasons["a"] == ""
    assert reasons["orin-nx"] == "no board is called 'orin-nx' or is of that kind"
    assert reasons["b2"] == "no board is called 'b2' or is of that kind, did you mean 'b'"
    placement = Placement(plan.order(), all_of(plan), SHELF)
    assert len(drained(placement, ["a1", "a2", "b1"])) == 6
    assert placement.left == 12


def test_cells_of_a_lost_board_begin_anew_on_an_equal_one_as_often_as_allowed() -> None:
    plan = plan_of(6, repeats=2)
    shelf = SHELF[:2]
    moves: dict[str, int] = {}
    placement = Placement(plan.order(), all_of(plan), shelf, moves=moves, retries=1)
    first = [placement.take("a1"), placement.take("a2"), placement.take("a1")]
    assert all(first)
    mine = {run[0].id for run in (first[0], first[2]) if run}
    assert set(placement.lose("a1")) == mine
    for cell in mine:
        assert placement.may_move(cell)
        moves[cell] = moves.get(cell, 0) + 1
        placement.begin_anew(cell)
        assert not placement.may_move(cell)
    rest = drained(placement, ["a1", "a2"])
    assert {board for _, board in rest} == {"a2"}
    assert {key for key, _ in rest if key[0] in mine} == {(cell, repeat) for cell in mine for repeat in (1, 2)}
    assert len(rest) == 11, "all runs but the one that a2 had begun"
    assert placement.left == 0


def test_a_cell_that_names_its_board_waits_for_it() -> None:
    plan = plan_of(2, ["a1", "a2"])
    placement = Placement(plan.order(), all_of(plan), SHELF, retries=5)
    taken = placement.take("a1")
    assert taken is not None
    placement.put_back((taken[0].id, taken[1]))
    (lost,) = placement.lose("a1")
    assert not placement.may_move(lost)
    assert len(drained(placement, ["a1", "a2", "b1"])) == 6
    assert placement.left == 6


def test_a_run_that_is_put_back_is_the_boards_next() -> None:
    plan = plan_of(5)
    placement = Placement(plan.order(), all_of(plan), SHELF[:2])
    taken = placement.take("a1")
    assert taken is not None
    placement.put_back((taken[0].id, taken[1]))
    again = placement.take("a1")
    assert again is not None and (again[0].id, again[1]) == (taken[0].id, taken[1])
    assert len(drained(placement, ["a1", "a2"])) == 14


def test_a_pinned_cell_goes_on_where_it_was() -> None:
    plan = plan_of(8)
    due = [key for key in all_of(plan) if key[1] > 1]
    pins = {cell.id: ("a2" if number % 2 else "gone") for number, cell in enumerate(plan.cells)}
    placement = Placement(plan.order(), due, SHELF[:2], pins)
    assert set(placement.astray().values()) == {"gone"}
    assert len(placement.astray()) == 4
    runs = drained(placement, ["a1", "a2"])
    assert {board for _, board in runs} == {"a2"}
    assert len(runs) == 8


def test_the_wall_time_is_that_of_the_boards_together() -> None:
    plan = plan_of(8, repeats=2)
    seconds = dict.fromkeys((cell.id for cell in plan.cells), 3.0)
    alone = [Board("x", "k")]
    assert wall_time(plan, all_of(plan), alone, seconds) == 48
    four = [Board(f"x{number}", "k") for number in range(4)]
    assert wall_time(plan, all_of(plan), four, seconds) == 12
    pins = dict.fromkeys(seconds, "x0")
    assert wall_time(plan, all_of(plan), four, seconds, pins) == 48
    assert wall_time(plan, [], four, seconds) == 0


def test_boards_of_several_kinds_need_an_axis() -> None:
    with pytest.raises(WrongMatrix, match=r"several kinds \(a, b\).*`board: \[a, b\]`"):
        refuse_mixture(plan_of(2), SHELF)
    refuse_mixture(plan_of(2), SHELF[:2])
    refuse_mixture(plan_of(2, ["a", "b"]), SHELF)


def test_the_board_is_put_in_place_of_what_the_cell_names() -> None:
    words = ["--board=orin-nx", "--rate=5.0", "--", "tool", "--board=mine"]
    assert placed_words(words, "a1") == ["--board=a1", "--rate=5.0", "--", "tool", "--board=mine"]
    assert placed_words(["--", "tool"], "a1") == ["--board=a1", "--", "tool"]
