"""Few-shot and active learning save samples where a pattern changes; benchmarks/kml_adaptation.py has the figures."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from benchmarks import kml_adaptation as adaptation
from benchmarks.kml_adaptation import ALL_LAYERS, FEW_SHOT, MOST, NEW_MODEL

SEEDS = range(100, 105)
"""Others than those that the benchmark counts, and those that its rates were chosen on."""


def test_the_stream_is_half_slow_and_a_change_costs_accuracy() -> None:
    for seed in SEEDS:
        at = adaptation.change(seed)
        assert (at.test.targets > 0).mean() == pytest.approx(0.5, abs=0.01)
        assert adaptation.accuracy(at.model, at.old_test) > 0.88
        assert adaptation.accuracy(at.model, at.test) < 0.92


def test_the_head_alone_needs_fewer_samples_than_all_layers_and_a_new_model() -> None:
    new, whole, head = ([adaptation.few_shot(way, seed) for seed in SEEDS] for way in (NEW_MODEL, ALL_LAYERS, FEW_SHOT))
    assert None not in head
    assert statistics.median(adaptation.saved(new, head)) > 3, (new, head)
    assert statistics.median(adaptation.saved(whole, head)) > 1.4, (whole, head)


def test_samples_that_the_model_is_unsure_of_teach_more() -> None:
    every, unsure = ([adaptation.active(sampled, seed) for seed in SEEDS] for sampled in (False, True))
    assert None not in unsure
    assert statistics.median(adaptation.saved(every, unsure)) > 1.4, (every, unsure)


def test_a_change_is_seen_and_followed_without_being_told() -> None:
    followed = [adaptation.by_itself(seed) for seed in SEEDS]
    seen = [item for item in followed if item.seen_after is not None]
    assert len(seen) >= 4 and not any(item.false_alarms for item in followed)
    assert np.mean([item.adapted - item.changed for item in seen]) > 0.08, followed


def test_the_same_seed_gives_the_same_count() -> None:
    assert adaptation.active(True, 103) == adaptation.active(True, 103)


def test_counts_that_were_not_reached_are_said() -> None:
    assert adaptation.summary([10, None, 30]) == f"30 (10 to {MOST}); 1 of 3 not within {MOST}"
    assert adaptation.saved([100, None], [50, 64]) == [2.0, MOST / 64]
