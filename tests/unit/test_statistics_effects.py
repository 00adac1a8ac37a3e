"""Factors of a study: effects and interactions are found where they are planted, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edgeprof.profiler.statistics import effects, variance
from edgeprof.profiler.statistics.effects import Effect, Interaction
from edgeprof.profiler.statistics.study import Study
from tests.synthetic_study import AXES, Levels, make_study, typical

stats = pytest.importorskip("scipy.stats", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

METRIC = "wall_time"


def mains(study: Study) -> list[Effect]:
    return effects.corrected(effects.main_effects(study, METRIC, "log"))


def pairs(study: Study) -> list[Interaction]:
    return effects.corrected(effects.interactions(study, METRIC, "log"))


def one(study: Study, factor: str, level: str) -> Effect:
    return next(effect for effect in mains(study) if (effect.factor, effect.level) == (factor, level))


def uneven(levels: Levels) -> float:
    """Warm runs differ 25 times as much as cold ones."""
    return 0.5 if levels["cache"] == "warm" else 0.02


class TestNullData:
    TRIALS = 400
    MOST = 0.05

    @pytest.mark.parametrize(
        ("repeats", "failures", "spread"),
        [(5, 0.0, 0.05), (2, 0.0, 0.5), (4, 0.3, 0.3), (3, 0.2, uneven), (5, 0.0, uneven)],
        ids=["five", "two", "failures", "few and uneven", "uneven"],
    )
    def test_any_false_finding_in_5_percent_of_studies_at_most(
        self, repeats: int, failures: float, spread: float | Callable[[Levels], float]
    ) -> None:
        found = [
            make_study(spread=spread, repeats=repeats, failures=failures, seed=seed) for seed in range(self.TRIALS)
        ]
        limit = stats.binom.ppf(0.999, self.TRIALS, 0.05) / self.TRIALS
        assert sum(any(effect.shown for effect in mains(study)) for study in found) / self.TRIALS <= limit
        few = found[: self.TRIALS // 2]
        limit = stats.binom.ppf(0.999, len(few), 0.05) / len(few)
        assert sum(any(pair.shown for pair in pairs(study)) for study in few) / len(few) <= limit

    def test_factors_that_do_nothing_explain_nothing_on_average(self) -> None:
        shares = [variance.explained(make_study(seed=seed), METRIC, "log").shares for seed in range(80)]
        mean = {share.name: np.mean([each[place].share for each in shares]) for place, share in enumerate(shares[0])}
        assert mean.pop(variance.RESIDUAL) > 0.88
        assert max(mean.values()) < 0.03


class TestPlanted:
    def test_effects_are_ratios_over_matched_cells(self) -> None:
        study = make_study(typical)
        found = one(study, "framework", "tensorflow")
        assert found.estimate is not None
        assert found.estimate.low is not None and found.estimate.high is not None
        assert found.shown
        assert found.estimate.low < 0.26 < found.estimate.high
        assert (found.pairs, found.processes, found.baseline) == (6, 60, "pytorch")
        assert not one(study, "format", "tar").shown

    def test_intervals_hold_the_truth_in_95_percent(self) -> None:
        trials = 300
        held = 0
        for seed in range(trials):
            estimate = one(make_study(typical, spread=uneven, repeats=4, seed=seed), "framework", "tensorflow").estimate
            assert estimate is not None and estimate.low is not None and estimate.high is not None
            held += estimate.low <= 0.26 <= estimate.high
        assert 0.925 <= held / trials <= 0.985

    def test_failed_cells_do_not_pass_one_factors_effect_to_another(self) -> None:
        study = make_study(typical, spread=0.01)
        for run in study.cells:  # tensorflow ran with lmdb only, and lmdb with tensorflow only
            if (run.levels["framework"] == "tensorflow") != (run.levels["format"] == "lmdb"):
                run.failed = "it failed"
        found = {(effect.factor, effect.level): effect for effect in mains(study)}
        assert found["framework", "tensorflow"].estimate is None
        assert "no cell has a partner" in found["framework", "tensorflow"].reason
        assert found["format", "tar"].pairs == 2

    def test_interactions_are_ratios_of_ratios(self) -> None:
        found = {(pair.level, pair.with_level): pair for pair in pairs(make_study(typical))}
        assert found["lmdb", "warm"].shown
        assert found["lmdb", "warm"].estimate is not None
        assert found["lmdb", "warm"].estimate.value == pytest.approx(0.22, abs=0.05)
        assert [key for key, pair in found.items() if pair.shown] == [("lmdb", "warm")]

    def test_the_baseline_can_be_chosen(self) -> None:
        found = one(make_study(typical, baseline={"framework": "tensorflow"}), "framework", "pytorch")
        assert found.estimate is not None
        assert found.estimate.value == pytest.approx(-0.26, abs=0.03)


class TestSilence:
    def test_one_repeat_of_each_cell_says_nothing(self) -> None:
        study = make_study(typical, repeats=1)
        assert all(effect.estimate is None and "two repeats" in effect.reason for effect in mains(study))
        shares = variance.explained(study, METRIC, "log").shares
        assert all(share.low is None for share in shares)
        assert sum(share.share for share in shares) == pytest.approx(1)

    def test_a_constant_metric_has_no_effects(self) -> None:
        study = make_study()
        for run in study.cells:
            run.metrics[METRIC] = 100.0
        assert [(effect.p, effect.shown) for effect in mains(study)] == [(None, False)] * 4
        assert variance.explained(study, METRIC, "log").reason == "every run gave the same value"

    def test_a_metric_without_noise_is_judged_by_the_chance_of_such_a_deal(self) -> None:
        found = one(make_study(typical, spread=0.0), "framework", "tensorflow")
        assert found.estimate is not None
        assert (found.estimate.low, found.p) == (None, pytest.approx(2 / math.comb(10, 5) ** 6))
        assert found.shown
        mixed = one(make_study(typical, spread=0.0), "format", "lmdb")
        assert (mixed.p, mixed.shown) == (None, False)  # faster in some cells, equal in others: not a deal by lot

    def test_a_metric_that_nobody_gave(self) -> None:
        study = make_study()
        assert all(effect.estimate is None for effect in effects.main_effects(study, "energy", "log"))
        assert variance.explained(study, "energy", "log").reason == "fewer than two runs gave this metric"

    def test_factors_with_one_level_are_left_out(self) -> None:
        study = make_study(axes={**AXES, "board": ["laptop"]})
        assert "board" not in {effect.factor for effect in mains(study)}
        assert all("board" not in share.factors for share in variance.explained(study, METRIC, "log").shares)

    def test_a_study_of_one_cell(self) -> None:
        study = make_study(axes={"framework": ["pytorch"]})
        assert mains(study) == []
        assert variance.explained(study, METRIC, "log").reason.endswith("do not differ in any factor")


class TestVariance:
    def test_shares_are_those_of_the_planted_effects(self) -> None:
        size = {"framework": 0.03, "format": 0.02, "cache": 0.01}

        def effect(levels: Levels) -> float:
            return sum(size[axis] * AXES[axis].index(level) for axis, level in levels.items())

        truth = {"framework": 0.03**2 / 4, "format": 0.02**2 * 2 / 3, "cache": 0.01**2 / 4, variance.RESIDUAL: 0.02**2}
        total = sum(truth.values())
        found: dict[str, list[float]] = {}
        for seed in range(60):
            for share in variance.explained(make_study(effect, seed=seed), METRIC, "log").shares:
                found.setdefault(share.name, []).append(share.share)
        for name, value in truth.items():
            assert np.mean(found[name]) == pytest.approx(value / total, abs=0.03)

    @pytest.mark.parametrize("failures", [0.0, 0.3, 0.6])
    def test_shares_add_up_whatever_is_missing(self, failures: float) -> None:
        for seed in range(10):
            found = variance.explained(make_study(typical, failures=failures, repeats=3, seed=seed), METRIC, "log")
            assert sum(share.share for share in found.shares) == pytest.approx(1)
            assert all(0 <= share.share <= 1 for share in found.shares)
            assert all(share.low is None or share.low <= share.share <= (share.high or 0) for share in found.shares)

    def test_intervals_hold_the_truth(self) -> None:
        truth = variance.explained(make_study(typical, repeats=400, spread=0.15), METRIC, "log").shares
        held = np.zeros(len(truth))
        for seed in range(80):
            found = variance.explained(make_study(typical, spread=0.15, seed=seed), METRIC, "log").shares
            held += [
                share.low is not None and share.high is not None and share.low <= true.share <= share.high
                for share, true in zip(found, truth, strict=True)
            ]
        assert (held / 80 >= 0.85).all()

    def test_many_factors_take_orders_by_lot(self) -> None:
        axes = {f"axis{number}": ["a", "b"] for number in range(6)}
        found = variance.explained(
            make_study(lambda levels: 0.5 * (levels["axis4"] == "b"), axes=axes, repeats=2), METRIC, "log"
        )
        assert len(found.shares) == 6 + 15 + 2
        assert next(share for share in found.shares if share.name == "axis4").share > 0.9
