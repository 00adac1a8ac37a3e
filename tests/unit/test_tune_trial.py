"""A/B trials: what pays is kept, what harms ends early, and chance alone hardly ever passes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from edgeprof.kmodule.tuning.trial import HARM, LEAST_PAIRS, MOST_PAIRS, MOST_VOID, T_99, Trial, Verdict


def run(score: Callable[[bool], float | None], seed: int = 0) -> Trial:
    """A trial to its end, each block scored by whether it has the new setting."""
    trial = Trial(np.random.default_rng(seed))
    while trial.verdict is None:
        trial.block(score(trial.new))
    return trial


def noisy(gain: float, spread: float, seed: int) -> Callable[[bool], float]:
    random = np.random.default_rng(seed)
    return lambda new: math.exp(random.normal(0, spread)) * (gain if new else 1.0)


def test_a_clear_gain_is_kept_after_the_fewest_pairs() -> None:
    trial = run(noisy(3.0, 0.02, 1))
    assert trial.verdict is Verdict.PAYS
    assert len(trial.ratios) == LEAST_PAIRS
    interval = trial.interval()
    assert interval is not None
    assert interval[1] < 3.0 < interval[2]


def test_clear_harm_ends_with_the_first_pair() -> None:
    trial = run(noisy(0.4, 0.02, 1))
    assert (trial.verdict, len(trial.ratios)) == (Verdict.HARMS, 1)
    assert trial.interval() is None


def test_slight_harm_is_found_by_the_interval() -> None:
    trial = run(noisy(0.9, 0.01, 1))
    assert math.log(0.9) > HARM
    assert trial.verdict is Verdict.HARMS


def test_what_makes_no_difference_is_not_kept() -> None:
    trial = run(noisy(1.0, 0.1, 5))
    assert (trial.verdict, len(trial.ratios)) == (Verdict.NOT_SHOWN, MOST_PAIRS)


def test_of_changes_without_effect_few_are_kept() -> None:
    kept = sum(run(noisy(1.0, 0.05, seed), seed).verdict is Verdict.PAYS for seed in range(1000))
    assert 0 < kept <= 40  # 99 % at each of six looks: up to 3 of 100 err to this side


def test_blocks_without_reading_are_done_again_and_end_it_at_last() -> None:
    scores = iter([None, 1.0, None, 2.0, *[None] * MOST_VOID])
    trial = run(lambda new: next(scores))
    assert (trial.verdict, len(trial.ratios)) == (Verdict.IDLE, 1)


def test_both_settings_come_first_in_their_pairs_by_turns_of_chance() -> None:
    firsts = set()
    for seed in range(8):
        firsts.add(Trial(np.random.default_rng(seed)).new)
    assert firsts == {False, True}


def test_each_pair_has_one_block_of_each() -> None:
    seen: list[bool] = []

    def score(new: bool) -> float:
        seen.append(new)
        return 1.0 + 0.01 * len(seen) % 0.03

    run(score)
    assert all(first is not second for first, second in zip(seen[::2], seen[1::2], strict=True))


@pytest.mark.parametrize(("df", "quantile"), T_99.items())
def test_the_quantiles_are_student_s(df: int, quantile: float) -> None:
    student = pytest.importorskip("edgeprof.profiler.statistics.student")
    assert student.quantile(0.995, df) == pytest.approx(quantile, abs=0.0006)


def test_there_is_a_quantile_for_each_number_of_pairs() -> None:
    assert set(T_99) == set(range(LEAST_PAIRS - 1, MOST_PAIRS))
