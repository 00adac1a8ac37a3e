"""Thinned series keep what a reader looks for: peaks, ends and gaps."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgeprof.dashboards.report import downsample as ds


@given(arrays(np.float64, st.integers(1, 3000), elements=st.floats(-1e9, 1e9)), st.integers(1, 50))
def test_ends_and_extremes_survive_within_the_limit(values: np.ndarray, bins: int) -> None:
    x, y = ds.min_max(np.arange(len(values), dtype=float), values, bins)
    assert len(x) <= 2 * bins + 2
    assert (np.diff(x) > 0).all()
    assert np.array_equal(values[x.astype(int)], y)
    assert {y[0], y[-1]} == {values[0], values[-1]}
    assert (y.min(), y.max()) == (values.min(), values.max())


def test_a_peak_of_one_sample_among_a_million_is_drawn() -> None:
    values = np.zeros(1_000_000)
    values[123_456] = 1.0
    x, y = ds.min_max(np.arange(1e6), values)
    assert y.max() == 1.0
    assert x[y.argmax()] == 123_456
    assert len(x) <= 2 * ds.BINS + 2


def test_a_stretch_without_samples_breaks_the_line() -> None:
    x = np.r_[np.arange(0, 10, 0.1), np.arange(50, 60, 0.1)]
    for times, values in (
        (x, np.ones(len(x))),
        (np.repeat(x, 50) + np.tile(np.arange(50) / 600, len(x)), np.ones(50 * len(x))),
    ):
        thin_x, thin_y = ds.min_max(times, values, 100)
        inside = (thin_x > 10) & (thin_x < 50)
        assert np.isnan(thin_y[inside]).any()
        assert np.isfinite(thin_y[~inside]).all()


def test_unknown_values_do_not_hide_known_ones() -> None:
    values = np.full(10_000, np.nan)
    values[4321] = 7.0
    _, y = ds.min_max(np.arange(10_000.0), values, 20)
    assert np.nanmax(y) == 7.0


def test_a_rate_is_never_negative_and_leaves_out_unknown_samples() -> None:
    x, y = ds.rate(np.array([0.0, 1, 2, 3, 4, 5]), np.array([10.0, 20, np.nan, 60, 5, 6]))
    assert x.tolist() == [1, 3, 4, 5]
    assert y[[0, 1, 3]].tolist() == [10, 20, 1]
    assert np.isnan(y[2])


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10)), max_size=20), st.lists(st.floats(-5, 120), max_size=10))
def test_covered_time_is_that_of_adding_up_each_interval(intervals: list[tuple[float, float]], at: list[float]) -> None:
    starts = np.array([start for start, _ in intervals])
    ends = np.array([start + length for start, length in intervals])
    slow = [sum(min(max(t - s, 0.0), e - s) for s, e in zip(starts, ends, strict=True)) for t in at]
    assert np.allclose(ds.covered(starts, ends, np.array(at)), slow, atol=1e-9)


@given(arrays(np.float64, st.integers(0, 500), elements=st.floats(0, 1e6)))
def test_a_log_histogram_counts_every_positive_value_once(values: np.ndarray) -> None:
    edges, counts = ds.log_histogram(values)
    assert counts.sum() == (values > 0).sum()
    assert len(edges) == len(counts) + 1 or not len(edges)
    assert (np.diff(edges) > 0).all()


def test_a_density_counts_all_points() -> None:
    random = np.random.default_rng(1)
    counts, x, y = ds.density(random.random(5000), random.random(5000), 30, 20)
    assert counts.shape == (20, 30) == (len(y), len(x))
    assert counts.sum() == 5000


def test_a_sample_is_the_same_each_time_and_has_no_doubles() -> None:
    first, second = ds.sample(1_000_000, 3000), ds.sample(1_000_000, 3000)
    assert np.array_equal(first, second)
    assert len(np.unique(first)) == 3000
    assert ds.sample(5, 10).tolist() == [0, 1, 2, 3, 4]
