"""Tests of intervals and overlaps: known values are found, and chance is not taken for a gain."""

from __future__ import annotations

import numpy as np
import pytest

from muse_shortcut.evaluation.bootstrap import mean_interval
from muse_shortcut.evaluation.overlap import overlap, overlap_interval

# Overlaps


def test_overlaps_of_known_value() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=4000)
    assert overlap(values, values) == pytest.approx(1.0, abs=1e-3)
    # Two normals whose means are d apart overlap by 2 Phi(-d / 2).
    assert overlap(values, random.normal(2.0, size=4000)) == pytest.approx(0.3173, abs=0.03)
    assert overlap(values, values + 100) < 1e-6
    assert overlap(np.ones(10), np.ones(20)) == 1.0
    assert overlap(np.ones(10), np.zeros(10)) < 1e-3


def test_an_interval_of_an_overlap_holds_it_and_narrows_with_windows() -> None:
    random = np.random.default_rng(1)
    few, many = (overlap_interval(random.normal(size=n), random.normal(size=n), seed=0) for n in (20, 500))
    assert few is not None
    assert many is not None
    for found in (few, many):
        assert 0 <= found.low <= found.mean <= found.high <= 1
    assert many.high - many.low < few.high - few.low
    assert overlap_interval(np.zeros(7), np.zeros(100), seed=0) is None


# Intervals


def test_an_interval_of_normal_values_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    found = mean_interval(values, seed=1)
    assert found is not None
    error = values.std(ddof=1) / 20
    assert found.mean == values.mean()
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)


def test_an_interval_of_skewed_values_reaches_to_the_long_side() -> None:
    found = mean_interval(np.random.default_rng(0).exponential(1, 40), seed=1)
    assert found is not None
    assert found.high - found.mean > 1.1 * (found.mean - found.low)


def test_intervals_hold_the_mean_about_as_often_as_they_say() -> None:
    random, held = np.random.default_rng(0), 0
    for seed in range(60):
        found = mean_interval(random.exponential(1, 40), seed=seed)
        assert found is not None
        held += found.low <= 1.0 <= found.high
    assert 51 <= held < 60


def test_an_interval_is_the_seeds() -> None:
    values = np.random.default_rng(0).normal(size=20)
    assert mean_interval(values, seed=1) == mean_interval(values, seed=1) != mean_interval(values, seed=2)


def test_few_values_that_differ_have_no_interval() -> None:
    values = np.random.default_rng(0).normal(size=20)
    for few in (values[:0], values[:8], np.full(99, 0.1), np.concatenate([np.zeros(90), values[:7]])):
        assert mean_interval(few, seed=1) is None
    assert mean_interval(values[:9], seed=1) is not None
    assert mean_interval(np.concatenate([np.zeros(90), values[:8]]), seed=1) is not None


def test_chance_is_not_taken_for_a_gain() -> None:
    values = np.random.default_rng(3).normal(size=100)
    found = mean_interval(values - values.mean(), seed=0)
    assert found is not None
    assert found.low < 0 < found.high
