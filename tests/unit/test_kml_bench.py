"""The library is measured whole: every figure is there, an overloaded ring adds up, and sizes are in bounds."""

from __future__ import annotations

import pytest

from edgeprof.kmodule import bench
from edgeprof.kmodule.bench import BenchFailed, Overload


@pytest.fixture(scope="module")
def measured() -> bench.Measured:
    return bench.measure(rounds=3)


def test_every_figure_is_measured(measured: bench.Measured) -> None:
    assert set(measured.nanoseconds) == set(bench.NAMES)
    assert all(len(values) == 3 and 0 <= min(values) < 1e5 for values in measured.nanoseconds.values())
    network, linear = (min(measured.nanoseconds[f"infer-{name}-fixed"]) for name in ("network", "linear"))
    assert 0 < linear < network


def test_an_overloaded_ring_loses_nothing_uncounted(measured: bench.Measured) -> None:
    overload = measured.overload
    assert overload.pushed == overload.popped + overload.dropped
    assert min(overload.popped, overload.dropped) > 0


def test_the_library_and_its_models_are_small(measured: bench.Measured) -> None:
    assert 0 < measured.sizes["libkml.so, stripped"] <= 64 * 1024
    assert 0 < measured.sizes["5-15-5-4 network, in memory"] < 4096
    assert 0 < measured.sizes["linear model, in memory"] < 4096


def test_hot_functions_use_little_stack(measured: bench.Measured) -> None:
    assert measured.stack and all(0 <= used <= 512 for used in measured.stack.values())


def test_the_text_has_a_line_a_figure(measured: bench.Measured) -> None:
    text = bench.lines(measured)
    assert len(text) == len(bench.NAMES) + len(measured.sizes) + len(measured.stack) + 1
    assert any(line.startswith("inference, 5-15-5-4 network, fixed point") and " ns " in line for line in text)


def test_rounds_are_kept_apart() -> None:
    lines = [f"{name}\t{value}" for value in (1.5, 2.5) for name in bench.NAMES]
    nanoseconds, overload = bench.parse([*lines, "overload\t10\t7\t3"])
    assert nanoseconds == {name: [1.5, 2.5] for name in bench.NAMES}
    assert overload == Overload(10, 7, 3)


@pytest.mark.parametrize("missing", ["overload", "sigmoid"])
def test_output_that_is_not_whole_is_no_measurement(missing: str) -> None:
    lines = [*(f"{name}\t1.5" for name in bench.NAMES), "overload\t10\t7\t3"]
    with pytest.raises(BenchFailed, match="not whole"):
        bench.parse([line for line in lines if not line.startswith(missing)])
