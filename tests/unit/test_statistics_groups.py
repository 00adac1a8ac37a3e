"""Two groups of runs: no false alarms on null data, planted changes found, intervals that hold, and honest silence."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

from edgeprof.profiler.statistics import bootstrap, student
from edgeprof.profiler.statistics.contrast import Floats, contrast, separation
from edgeprof.profiler.statistics.groups import compare, compare_cells, corrected
from edgeprof.profiler.statistics.multiple import holm, strictest
from edgeprof.profiler.statistics.scale import scale_of
from tests.source_tree import ROOT

stats = pytest.importorskip("scipy.stats", reason="needs SciPy: make install, or pip install 'edgeprof[matrix]'")

STEPS = 40
WITHIN = 0.04
"""Spread of a step around its process's mean, as a share of it."""


def steps_of(random: np.random.Generator, processes: int, ratio: float, skewed: bool) -> np.ndarray:
    """Steps of processes of one program; the spread between processes is ``ratio`` times that between steps."""
    means, noise = ratio * WITHIN * random.normal(size=(processes, 1)), WITHIN * random.normal(size=(processes, STEPS))
    return np.exp(means) * np.exp(noise) if skewed else (1 + means) * (1 + noise)


def largest(rate: float, trials: int) -> float:
    """The share of findings that a test with this rate exceeds in one of 1000 such simulations."""
    return float(stats.binom.ppf(0.999, trials, rate) / trials)


class TestNullData:
    """The same program against itself."""

    TRIALS = 1000

    @pytest.mark.parametrize("skewed", [False, True], ids=["normal", "lognormal"])
    @pytest.mark.parametrize("ratio", [0.0, 1.0, 5.0])
    @pytest.mark.parametrize("sizes", [(3, 3), (5, 5), (10, 10), (3, 12)], ids=str)
    def test_false_alarms_stay_at_5_percent(self, sizes: tuple[int, int], ratio: float, skewed: bool) -> None:
        random = np.random.default_rng(1)
        alarms = 0
        for _ in range(self.TRIALS):
            base, other = (steps_of(random, size, ratio, skewed).mean(axis=1) for size in sizes)
            p = compare(base, other, "s", rounds=0).p
            alarms += p is not None and p <= 0.05
        assert alarms / self.TRIALS <= largest(0.05, self.TRIALS)

    @pytest.mark.parametrize("spread", [0.2, 1.0])
    def test_also_where_the_noise_is_very_skewed(self, spread: float) -> None:
        random = np.random.default_rng(2)
        alarms = 0
        for _ in range(self.TRIALS):
            base, other = np.exp(spread * random.normal(size=(2, 8)))
            p = compare(base, other, "s", rounds=0).p
            alarms += p is not None and p <= 0.05
        assert alarms / self.TRIALS <= largest(0.05, self.TRIALS)

    def test_twelve_metrics_together_give_a_false_alarm_in_5_percent_at_most(self) -> None:
        random = np.random.default_rng(3)
        trials, alarms = 400, 0
        for _ in range(trials):
            shared = 0.03 * random.normal(size=(2, 6))  # the metrics of a run hang together
            metrics = [np.exp(shared + 0.03 * random.normal(size=(2, 6))) for _ in range(12)]
            found = corrected([compare(base, other, "s", rounds=0) for base, other in metrics])
            alarms += any(item.verdict in ("more", "less") for item in found)
        assert alarms / trials <= largest(0.05, trials)


def pooled_alarms(ratio: float, trials: int, seed: int = 4) -> tuple[float, float]:
    """Share of false alarms with all steps pooled, and with one value a process; 10 processes of 40 steps each."""
    random = np.random.default_rng(seed)
    base, other = (np.stack([steps_of(random, 10, ratio, skewed=False) for _ in range(trials)]) for _ in range(2))
    flat = [part.reshape(trials, -1) for part in (base, other)]
    pooled = stats.ttest_ind(*flat, axis=1, equal_var=False).pvalue
    each = [compare(one, two, "s", rounds=0).p or 1.0 for one, two in zip(base.mean(2), other.mean(2), strict=True)]
    return float((pooled <= 0.05).mean()), float((np.array(each) <= 0.05).mean())


def test_pooling_steps_of_several_processes_gives_false_alarms_as_documented() -> None:
    page = (ROOT / "docs/statistics.md").read_text()
    rows = re.findall(r"^\| (\d(?:\.\d)?) \| (\d+) % \| (\d+) % \|$", page, re.MULTILINE)
    assert [float(row[0]) for row in rows] == [0, 0.2, 0.5, 1, 5]
    trials = 800
    for ratio, pooled, by_process in ((float(a), int(b) / 100, int(c) / 100) for a, b, c in rows):
        found = pooled_alarms(ratio, trials)
        assert found == pytest.approx((pooled, by_process), abs=0.06)
        assert found[1] <= largest(0.05, trials)
    assert pooled_alarms(1, 200)[0] > 0.5, "with a spread between processes as large as within, most are false"


class TestPlanted:
    @pytest.mark.parametrize("unit", ["s", "samples/s", ""])
    def test_5_percent_is_found_with_10_repeats_at_1_percent_spread(self, unit: str) -> None:
        random = np.random.default_rng(5)
        trials, found = 600, 0
        for _ in range(trials):
            base, other = 1 + 0.01 * random.normal(size=10), 1.05 * (1 + 0.01 * random.normal(size=10))
            (item,) = corrected([compare(base, other, unit, rounds=0)])
            found += item.verdict == "more"
        assert found / trials >= 0.99

    def test_also_among_16_metrics_of_which_no_other_changed(self) -> None:
        random = np.random.default_rng(6)
        trials, found = 150, 0
        for _ in range(trials):
            groups = [1 + 0.01 * random.normal(size=(2, 10)) for _ in range(16)]
            groups[3][1] *= 1.05
            items = corrected([compare(base, other, "s", rounds=0) for base, other in groups])
            found += items[3].verdict == "more"
        assert found / trials >= 0.99

    def test_what_could_have_been_shown_is_shown_in_4_of_5_studies(self) -> None:
        random = np.random.default_rng(7)
        error, df = 0.01 * math.sqrt(2 / 8), 14.0
        change = student.detectable(error, df)
        trials = 1500
        found = 0
        for _ in range(trials):
            base, other = np.exp(0.01 * random.normal(size=8)), np.exp(change + 0.01 * random.normal(size=8))
            found += (compare(base, other, "s", rounds=0).p or 1) <= 0.05
        assert found / trials == pytest.approx(0.8, abs=0.035)


class TestIntervals:
    @pytest.mark.parametrize("sizes", [(5, 5), (10, 10), (6, 15)], ids=str)
    @pytest.mark.parametrize("skewed", [False, True], ids=["normal", "lognormal"])
    def test_they_hold_the_true_change_in_95_percent(self, sizes: tuple[int, int], skewed: bool) -> None:
        random = np.random.default_rng(8)
        trials, truth = 600, math.log(1.1)
        welch = boot = linear = 0
        for trial in range(trials):
            base = steps_of(random, sizes[0], 2, skewed).mean(axis=1)
            other = 1.1 * steps_of(random, sizes[1], 2, skewed).mean(axis=1)
            found = compare(base, other, "s", seed=trial, rounds=300)
            assert found.effect.low is not None and found.effect.high is not None and found.resampled is not None
            assert found.difference.low is not None and found.difference.high is not None
            welch += found.effect.low <= truth <= found.effect.high
            boot += found.resampled[0] <= truth <= found.resampled[1]
            linear += found.difference.low <= 0.1 * (np.exp(0.0033) if skewed else 1) <= found.difference.high
        for held in (welch, boot, linear):
            assert 0.925 <= held / trials <= 0.985

    def test_the_test_is_welchs(self) -> None:
        random = np.random.default_rng(9)
        base, other = random.normal(size=7), 2 * random.normal(size=7) + 1
        found = contrast([base, other], [-1, 1])
        wanted = stats.ttest_ind(other, base, equal_var=False)
        interval = wanted.confidence_interval(0.95)
        assert (found.p, found.low, found.high) == pytest.approx((wanted.pvalue, interval.low, interval.high))

    def test_degrees_of_freedom_never_exceed_those_of_equal_spread(self) -> None:
        base, other = np.array([1.0, 1.001, 0.999]), np.linspace(0, 2, 12)
        found = contrast([base, other], [-1, 1])
        assert found.df is not None
        assert found.df <= 3.3 < stats.ttest_ind(other, base, equal_var=False).df

    def test_the_bootstrap_is_the_same_for_the_same_seed(self) -> None:
        groups = [np.linspace(1, 2, 8), np.linspace(1.2, 2, 8)]
        assert bootstrap.interval(groups, (-1, 1), 3) == bootstrap.interval(groups, (-1, 1), 3)
        assert bootstrap.interval(groups, (-1, 1), 3) != bootstrap.interval(groups, (-1, 1), 4)

    def test_few_processes_have_no_bootstrap(self) -> None:
        assert compare([1.0, 1.1, 1.2], [1.3, 1.4, 1.5], "s").resampled is None

    def test_steps_within_processes_are_drawn_anew_too(self) -> None:
        random = np.random.default_rng(10)
        base, other = (1 + 0.5 * random.normal(size=(8, 5)) ** 2 for _ in range(2))
        values = [np.median(part, axis=1) for part in (base, other)]
        alone = compare(*values, unit="s").resampled
        nested = compare(*values, unit="s", steps=(list(base), list(other))).resampled
        assert alone is not None and nested is not None
        assert alone != nested
        assert nested[1] - nested[0] == pytest.approx(alone[1] - alone[0], rel=0.6)

    def test_processes_with_very_many_steps_are_drawn_from_a_selection(self) -> None:
        steps = np.random.default_rng(11).normal(10, 1, 50_000)
        draws = bootstrap.redrawn(steps, np.median, np.random.default_rng(0), 50)  # type: ignore[arg-type]
        assert draws.mean() == pytest.approx(10, abs=0.05)


class TestSilence:
    """Where the data cannot say anything, nothing is said."""

    def test_one_run_each(self) -> None:
        (found,) = corrected([compare([10.0], [20.0], "s")])
        assert (found.p, found.verdict, found.interval, found.detectable) == (None, "not known", None, None)
        assert "one run" in found.reason
        assert found.share == pytest.approx(1.0)

    def test_one_run_against_many(self) -> None:
        assert compare([10.0], [20.0, 21.0, 19.0], "s").p is None

    def test_equal_values_are_no_difference(self) -> None:
        (found,) = corrected([compare([100.0] * 5, [100.0] * 5, "count")])
        assert (found.verdict, found.p, found.share) == ("equal", None, 0.0)

    @pytest.mark.parametrize(("size", "verdict"), [(3, "none shown"), (4, "more")])
    def test_without_spread_the_chance_of_such_a_deal_decides(self, size: int, verdict: str) -> None:
        (found,) = corrected([compare([100.0] * size, [120.0] * size, "bytes")])
        assert found.p == pytest.approx(2 / math.comb(2 * size, size))
        assert (found.verdict, found.interval) == (verdict, None)

    def test_rounding_is_no_spread(self) -> None:
        assert compare([0.1 + 0.2, 0.3, 0.3], [0.3, 0.3, 0.1 + 0.2], "s").verdict == "equal"

    def test_an_empty_group_is_refused(self) -> None:
        with pytest.raises(ValueError, match="without values"):
            compare([], [1.0], "s")

    def test_separation_is_exact(self) -> None:
        def apart(first: int, second: int) -> tuple[Floats, Floats]:
            return np.zeros(first), np.ones(second)

        assert separation([apart(2, 3)]) == pytest.approx(2 / 10)
        assert separation([apart(2, 2), apart(3, 3)]) == pytest.approx(2 / (6 * 20))
        assert separation([apart(1, 1)]) == 1.0
        assert separation([apart(2, 2), apart(2, 2)[::-1]]) is None, "they do not differ the same way"
        assert separation([apart(2, 2), (np.ones(2), np.ones(2))]) is None


class TestScale:
    @pytest.mark.parametrize(
        ("values", "unit", "scale"),
        [
            ([1.0, 2.0], "s", "log"),
            ([0.0, 2.0], "bytes", "linear"),
            ([-1.0, 2.0], "J", "linear"),
            ([0.1, 0.2], "share", "linear"),
        ],
    )
    def test_ratios_for_what_is_positive_and_no_share(self, values: list[float], unit: str, scale: str) -> None:
        assert scale_of([np.array(values)], unit) == scale

    def test_from_zero_there_is_no_share_but_a_difference(self) -> None:
        found = compare([0.0, 0.0, 0.0, 0.0], [5.0, 6.0, 7.0, 6.0], "count")
        assert found.share is None
        assert found.difference.value == pytest.approx(6.0)
        assert found.p is not None and found.p < 0.01

    def test_a_ratio_does_not_depend_on_the_unit(self) -> None:
        base, other = [1.0, 1.1, 0.9], [2.0, 2.2, 1.9]
        one = compare(base, other, "s", rounds=0)
        thousand = compare([1000 * x for x in base], [1000 * x for x in other], "s", rounds=0)
        assert one.p == pytest.approx(thousand.p)
        assert one.interval == pytest.approx(thousand.interval)


class TestCells:
    def test_differences_between_cells_do_not_blur_the_answer(self) -> None:
        random = np.random.default_rng(12)
        pairs = [
            (size * np.exp(0.01 * random.normal(size=4)), 1.05 * size * np.exp(0.01 * random.normal(size=4)))
            for size in (1.0, 30.0, 900.0)
        ]
        found = compare_cells(pairs, "s")
        pooled = compare(*(np.concatenate(side) for side in zip(*pairs, strict=True)), unit="s", rounds=0)
        assert found.share == pytest.approx(0.05, abs=0.02)
        assert found.p is not None and found.p < 1e-4
        assert pooled.p is not None and pooled.p > 0.5
        assert found.runs == (12, 12)

    def test_every_cell_counts_alike(self) -> None:
        found = compare_cells([([1.0] * 2, [2.0] * 2), ([1.0] * 20, [1.0] * 20)], "ratio")
        assert found.share == pytest.approx(math.sqrt(2) - 1)

    def test_a_cell_without_values_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cells without values"):
            compare_cells([([], [1.0])])


class TestCorrection:
    def test_holm_as_by_hand(self) -> None:
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])

    def test_what_has_no_p_is_not_counted(self) -> None:
        assert holm([None, 0.04, None]) == [None, 0.04, None]
        assert holm([]) == []

    def test_it_never_exceeds_1(self) -> None:
        assert holm([0.9, 0.8]) == [1.0, 1.0]

    def test_what_could_be_shown_is_asked_at_the_level_of_the_next_finding(self) -> None:
        assert strictest([0.001, 0.2, 0.9, None]) == pytest.approx(0.025)
        assert strictest([0.001]) == pytest.approx(0.05)


def test_statistics_without_scipy_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    real: Callable[..., object] = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    from edgeprof.profiler.errors import EdgeprofError

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EdgeprofError, match=re.escape("edgeprof[matrix]")):
        student.quantile(0.5, 3)
