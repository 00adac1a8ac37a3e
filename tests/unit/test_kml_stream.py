"""Statistics, drift, regression and sampling from Python, beside NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprof.kmodule.abi import LayerType, Loss
from edgeprof.kmodule.errors import Refused, WrongShape
from edgeprof.kmodule.library import to_fixed
from edgeprof.kmodule.model import Model, Trainer, Training
from edgeprof.kmodule.network import shapes
from edgeprof.kmodule.stream import Action, Adapter, Drift, Fading, Range, Regression, Running, Sampler, uncertainty

VALUES = np.random.default_rng(1).normal(20, 5, 3000)


def test_running_statistics_are_those_of_all_values() -> None:
    running = Running()
    for value in VALUES:
        running.add(value)
    assert running.count == 3000
    assert (running.mean, running.variance, running.deviation) == (
        pytest.approx(VALUES.mean(), abs=1e-4),
        pytest.approx(VALUES.var(), abs=1e-3),
        pytest.approx(VALUES.std(), abs=1e-3),
    )


def test_fading_statistics_follow_a_change() -> None:
    running, fading = Running(), Fading(6)
    for value in [*VALUES, *(VALUES + 50)]:
        running.add(value)
        fading.add(value)
    assert running.mean == pytest.approx(45, abs=1)
    assert fading.mean == pytest.approx(70, abs=3)


def test_a_range_brings_values_to_between_0_and_1() -> None:
    limits = Range()
    assert limits.normalise(5) == 0.0 or 0 <= limits.normalise(5) <= 1
    for value in (2.0, 10.0, 4.0):
        limits.add(value)
    assert [limits.normalise(value) for value in (2, 6, 10, 99, -99)] == [0, 0.5, 1, 1, 0]


def test_drift_is_a_rise_that_lasts() -> None:
    random = np.random.default_rng(2)
    drift = Drift(tolerance=0.05, threshold=5.0, warm_up=30)
    steady = [drift.add(error) for error in random.uniform(0.0, 0.4, 2000)]
    risen = [drift.add(error) for error in random.uniform(0.3, 0.9, 200)]
    assert not any(steady)
    assert 5 < risen.index(True) < 50
    assert drift.detections >= 1


def test_a_regression_finds_the_weights_of_a_linear_stream() -> None:
    random = np.random.default_rng(3)
    regression = Regression(3, rate=0.5)
    for row in random.normal(0, 1, (2000, 3)):
        regression.learn(row, 2.0 * row[0] - row[1] + 0.5)
    assert regression.weights == pytest.approx([2.0, -1.0, 0.0, 0.5], abs=0.01)
    assert regression.predict([1.0, 1.0, 1.0]) == pytest.approx(1.5, abs=0.02)
    assert regression.samples == 2000


def test_a_logistic_regression_separates_two_classes() -> None:
    random = np.random.default_rng(4)
    regression = Regression(2, rate=0.5, logistic=True)
    rows = random.normal(0, 1, (3000, 2))
    for row in rows:
        regression.learn(row, float(row[0] > row[1]))
    right = [(regression.predict(row) > 0.5) == (row[0] > row[1]) for row in rows[:500]]
    assert np.mean(right) > 0.95


def test_uncertainty_is_how_close_the_two_best_are() -> None:
    assert uncertainty([0.5, 0.5]) == 1.0
    assert uncertainty([1.0, 0.0, 0.0]) == 0.0
    assert uncertainty([0.75]) == pytest.approx(0.5)


def test_the_sampler_keeps_its_share_and_prefers_the_unsure() -> None:
    random = np.random.default_rng(5)
    sampler = Sampler(share=0.1, explore=0.02, seed=1)
    unsure = random.uniform(0, 1, 20_000)
    kept = np.array([sampler.keep(value) for value in unsure])
    assert sampler.seen == 20_000 and sampler.kept == kept.sum()
    assert kept.mean() == pytest.approx(0.1, abs=0.02)
    assert unsure[kept].mean() > 0.8
    assert (unsure[kept] < 0.5).sum() > 50  # what it explores


def test_the_adapter_learns_after_drift_and_settles() -> None:
    model = Model.create("line", 1, shapes("1-1", LayerType.TANH, None))
    trainer = Trainer(model, Training(Loss.MSE, rate=0.1))
    random = np.random.default_rng(6)
    inputs = random.uniform(-1, 1, (1000, 1))
    trainer.learn(to_fixed(inputs), to_fixed(0.5 * inputs + 0.25))
    adapter = Adapter(trainer, Drift(tolerance=0.01, threshold=1.0, warm_up=20), samples=100)
    quiet = adapter.feed(to_fixed(inputs), to_fixed(0.5 * inputs + 0.25))
    changed = adapter.feed(to_fixed(inputs), to_fixed(-2.0 * inputs + 1.0))
    assert {action for action, _ in quiet} == {Action.WATCHED}
    actions = [action for action, _ in changed]
    begun = actions.index(Action.DRIFTED)
    assert actions[begun + 1 : begun + 101] == [Action.LEARNED] * 99 + [Action.SETTLED]
    assert (adapter.adaptations, adapter.learned) == (1, 100)
    assert changed[0][1] > 0.05 and max(loss for _, loss in changed[begun + 101 :]) < 0.01


@pytest.mark.parametrize(
    "make",
    [
        lambda: Fading(0),
        lambda: Fading(99),
        lambda: Drift(-1.0, 1.0, 0),
        lambda: Drift(0.0, 0.0, 0),
        lambda: Regression(0, 0.1),
        lambda: Regression(17, 0.1),
        lambda: Regression(3, 0.0),
        lambda: Sampler(0.0, 0.0, 1),
        lambda: Sampler(0.1, 0.2, 1),
    ],
)
def test_settings_out_of_range_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(Refused):
        make()


def test_a_sample_of_another_width_is_refused() -> None:
    with pytest.raises(WrongShape):
        Regression(3, 0.1).predict([1.0, 2.0])
