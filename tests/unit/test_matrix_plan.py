"""Cells are the cross product less what is left out; their ids last, and their order is random but fixed."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.cli.matrix import refusal, run_axes
from edgeprof.profiler.matrix import plan as planning
from edgeprof.profiler.matrix.axes import level
from edgeprof.profiler.matrix.errors import WrongMatrix
from edgeprof.profiler.matrix.plan import Cell, Plan, make_plan
from edgeprof.profiler.matrix.spec import Constraint, MatrixSpec

AXES = run_axes()
VALUES: dict[str, list[Any]] = {
    "framework": ["pytorch", "litert", "jax"],
    "batch": [1, 8, 64],
    "memory_limit": [None, "64M", "1G"],
    "keras": [False, True],
    "queue": [["nr_requests=3", "nomerges=1"], "nr_requests=5"],
}


def spec_of(
    axes: Mapping[str, Sequence[Any]],
    fixed: Mapping[str, Any] | None = None,
    constraints: Sequence[Constraint] = (),
    **more: Any,
) -> MatrixSpec:
    fixed = {"workload": "resnet18", **(fixed or {})}
    values = {name: tuple(several) for name, several in axes.items()}
    known = {name: AXES[name] for name in (*axes, *fixed)}
    return MatrixSpec(Path("m.yaml"), "m", (), values, fixed, known, tuple(constraints), **more)


def all_run(words: Sequence[str]) -> str | None:
    return None


def plan_of(*arguments: Any, **more: Any) -> Plan:
    return make_plan(spec_of(*arguments, **more), all_run)


some_axes = st.sets(st.sampled_from(sorted(VALUES)), min_size=1).flatmap(
    lambda names: st.fixed_dictionaries(
        {name: st.lists(st.sampled_from(VALUES[name]), min_size=1, unique_by=str) for name in names}
    )
)


@st.composite
def axes_and_constraints(draw: st.DrawFn) -> tuple[dict[str, list[Any]], list[Constraint]]:
    axes = draw(some_axes)
    match = st.sets(st.sampled_from(sorted(axes)), min_size=1).flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.sets(st.sampled_from([level(value) for value in axes[name]]), min_size=1) for name in names}
        )
    )
    one = st.builds(
        lambda kind, match: Constraint(kind, {name: frozenset(wanted) for name, wanted in match.items()}, 1),
        st.sampled_from(["exclude", "only"]),
        match,
    )
    return axes, draw(st.lists(one, max_size=4))


@given(axes_and_constraints())
def test_every_combination_is_a_cell_or_left_out(case: tuple[dict[str, list[Any]], list[Constraint]]) -> None:
    axes, constraints = case
    combinations = [dict(zip(axes, map(level, values), strict=True)) for values in itertools.product(*axes.values())]
    only = [item for item in constraints if item.kind == "only"]
    kept = [
        levels
        for levels in combinations
        if not any(item.kind == "exclude" and item.matches(levels) for item in constraints)
        and (not only or any(item.matches(levels) for item in only))
    ]
    if not kept:
        with pytest.raises(WrongMatrix, match="none of its"):
            plan_of(axes, constraints=constraints)
        return
    plan = plan_of(axes, constraints=constraints)
    assert [dict(cell.levels) for cell in plan.cells] == kept
    assert len(plan.cells) + len(plan.left_out) == len(combinations)
    assert all(item.reason for item in plan.left_out)
    assert len({cell.id for cell in plan.cells}) == len(plan.cells)


@given(some_axes, st.randoms(use_true_random=False), st.integers(1, 9), st.integers(0, 9))
def test_ids_do_not_depend_on_order_repeats_budget_or_seed(
    axes: dict[str, list[Any]], random: Any, repeats: int, seed: int
) -> None:
    def ids(plan: Plan) -> dict[frozenset[tuple[str, str]], str]:
        return {frozenset(cell.levels.items()): cell.id for cell in plan.cells}

    first = ids(plan_of(axes))
    shuffled = {name: random.sample(axes[name], len(axes[name])) for name in random.sample(sorted(axes), len(axes))}
    second = ids(plan_of(shuffled, repeats=repeats, seed=seed, time=3.0, bytes=9, timeout=5.0))
    assert first == second


@given(some_axes, st.integers(0, 1 << 40))
def test_each_round_is_a_permutation_of_the_cells(axes: dict[str, list[Any]], seed: int) -> None:
    plan = plan_of(axes, repeats=3, seed=seed)
    order = plan.order()
    size = len(plan.cells)
    for number in range(3):
        block = order[number * size : (number + 1) * size]
        assert {repeat for repeat, _ in block} == {number + 1}
        assert sorted(cell.id for _, cell in block) == sorted(cell.id for cell in plan.cells)
    assert order == plan_of(axes, repeats=3, seed=seed).order(), "the same seed gives the same order"


def test_rounds_and_seeds_differ_in_their_order() -> None:
    axes = {"batch": list(range(1, 21))}
    plan = plan_of(axes, repeats=2)
    ids = [cell.id for _, cell in plan.order()]
    assert ids[:20] != ids[20:]
    assert ids[:20] != [cell.id for cell in plan.cells]
    assert ids != [cell.id for _, cell in plan_of(axes, repeats=2, seed=1).order()]


def test_another_cell_leaves_the_order_of_the_others() -> None:
    few = [cell.id for _, cell in plan_of({"batch": [1, 2, 3, 4, 5]}).order()]
    more = [cell.id for _, cell in plan_of({"batch": [1, 2, 3, 4, 5, 6]}).order()]
    assert [name for name in more if name in few] == few


def test_an_id_means_what_is_run_however_it_is_written() -> None:
    def one(axes: Mapping[str, Sequence[Any]], fixed: Mapping[str, Any] | None = None) -> str:
        (cell,) = plan_of(axes, fixed).cells
        return cell.id

    wanted = one({"batch": [8], "memory_limit": ["64M"]})
    assert one({"memory_limit": ["65536K"]}, {"batch": 8}) == wanted
    assert one({"memory_limit": ["64M"], "keras": [None]}, {"batch": "8"}) == wanted, "null is no option"
    assert one({"batch": [8], "memory_limit": ["65M"]}) != wanted
    assert wanted == "b61e10efb2", "ids in users' folders rely on it: raise SCHEMA where the meaning changes"


def test_words_are_those_that_edgeprof_run_reads() -> None:
    plan = plan_of(
        {
            "queue": [["nr_requests=3", "nomerges=1"]],
            "compile": [True],
            "keras": [False],
            "memory_limit": [None, "64M"],
        },
        {"batch": 4},
    )
    common = ("--batch=4", "--queue=nr_requests=3", "--queue=nomerges=1", "--compile")
    assert [cell.words for cell in plan.cells] == [
        (*common, "resnet18"),
        (*common, "--memory-limit=64M", "resnet18"),
    ]


def test_levels_go_into_the_words_of_a_command_once() -> None:
    known = {name: planning_axis(name) for name in ("a", "b")}
    spec = MatrixSpec(Path("m"), "m", ("{a}", "{b}{data}{c}"), {"a": ("{b}",), "b": (1.5,)}, {}, known)
    (cell,) = make_plan(spec, all_run).cells
    assert cell.words == ("--", "{b}", "1.5{data}{c}")


def planning_axis(name: str) -> Any:
    from edgeprof.profiler.matrix.axes import Axis

    return Axis(name)


def test_cells_that_cannot_be_run_are_left_out_with_the_reason() -> None:
    spec = spec_of({"framework": ["pytorch", "litert"], "lifecycle": ["train", "infer"]}, {"isolation": "container"})
    plan = make_plan(spec, refusal)
    assert [cell.label() for cell in plan.cells] == [
        "framework=pytorch lifecycle=train",
        "framework=pytorch lifecycle=infer",
        "framework=litert lifecycle=infer",
    ]
    (left_out,) = plan.left_out
    assert left_out.reason.startswith("litert cannot train resnet18 here")


def test_a_matrix_without_a_cell_that_can_be_run_is_an_error() -> None:
    with pytest.raises(WrongMatrix, match=r"none of its 2 cells can be run; the first: litert cannot train"):
        make_plan(spec_of({"framework": ["litert"], "batch": [1, 2]}), refusal)


def test_two_cells_that_are_the_same_run_are_an_error() -> None:
    with pytest.raises(WrongMatrix, match=r"\(compile=default\) and \(compile=false\) are the same run"):
        plan_of({"compile": [None, False]})
    with pytest.raises(WrongMatrix, match="are the same run"):
        plan_of({"framework": [None, "pytorch"]})


def test_too_many_cells_are_refused_before_they_are_made() -> None:
    with pytest.raises(WrongMatrix, match=r"1000000000000 cells, and \d+ is the most"):
        plan_of({"batch": range(1, 1000001), "steps": range(1000000)})


def test_a_refusal_is_what_run_would_say() -> None:
    assert refusal(["--batch=4", "resnet18"]) is None
    assert refusal(["--", "true"]) is None
    assert "no built-in workload 'resnet81'" in (refusal(["resnet81"]) or "")
    assert "is not a device limit" in (refusal(["--device-limit=x", "--", "true"]) or "")
    assert "not in the range" in (refusal(["--batch=0", "resnet18"]) or "")


def test_a_cell_tells_its_levels() -> None:
    assert Cell("x", {"a": "1", "b": "two"}, {}, ()).label() == "a=1 b=two"
    assert planning.SCHEMA == 1
