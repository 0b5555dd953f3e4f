from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from icd.contracts import Missing
from icd.stats.interval import (
    bca_interval,
    cohen_dz,
    holm,
    positive_interval,
    t_bounds,
    t_interval,
    t_test,
)

SAMPLE = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=12)


def test_t_interval_by_hand():
    # mean 3, sd sqrt(2.5), n 5, t(4, 0.975) = 2.776445
    half = 2.776445105 * math.sqrt(2.5) / math.sqrt(5)
    assert t_interval(np.arange(1.0, 6)) == pytest.approx((3 - half, 3 + half))


@given(st.lists(st.floats(0.01, 1e3), min_size=2, max_size=8))
def test_an_interval_of_positive_quantities_stays_positive_around_their_mean(units):
    lo, hi = positive_interval(np.array(units))
    assert 0 < lo <= np.mean(units) * (1 + 1e-12) and np.mean(units) <= hi * (1 + 1e-12)


def test_an_interval_of_positive_quantities_is_the_plain_one_where_they_agree():
    units = np.array([10.0, 10.01, 9.99, 10.02])
    assert positive_interval(units) == pytest.approx(t_interval(units), rel=1e-5)
    assert t_interval(np.array([1.0, 2.0, 9.0]))[0] < 0 < positive_interval(np.array([1.0, 2.0, 9.0]))[0]
    for signed in ([0.0, 0.0, 0.0], [-1.0, 1.0, 1e-6]):  # energy above idle may be either
        assert positive_interval(np.array(signed)) == t_interval(np.array(signed))
    assert isinstance(positive_interval(np.array([1.0])), Missing)


@given(SAMPLE.filter(lambda x: np.std(x) > 1e-3), st.floats(-2, 2))
def test_interval_and_tests_agree_with_scipy(units, threshold):
    result = stats.ttest_1samp(units, threshold)
    assert t_interval(np.array(units)) == pytest.approx(tuple(result.confidence_interval(0.95)), abs=1e-9)
    for alternative in ("less", "greater", "two-sided"):
        expected = stats.ttest_1samp(units, threshold, alternative=alternative).pvalue
        assert t_test(np.array(units), threshold, alternative) == pytest.approx(expected, abs=1e-9)


def test_bounds_of_many_experiments_equal_those_of_each():
    units = np.random.default_rng(0).normal(size=(7, 3, 5))
    lo, hi = t_bounds(units)
    assert lo.shape == hi.shape == (7, 3)
    assert t_interval(units[4, 2]) == pytest.approx((lo[4, 2], hi[4, 2]))


@pytest.mark.parametrize("function", [t_interval, cohen_dz, t_test])
def test_one_unit_has_no_interval_effect_or_test(function):
    result = function(np.array([0.3]))
    assert isinstance(result, Missing)
    assert "at least 2 processes, got 1" in result.reason


def test_units_that_are_all_equal():
    same = np.full(4, -0.25)
    assert t_interval(same) == (-0.25, -0.25)
    assert isinstance(cohen_dz(same), Missing)
    assert t_test(same) == 0.0
    assert t_test(np.zeros(4)) == 1.0
    assert t_test(same, alternative="greater") == 1.0


def test_cohen_dz_is_the_mean_over_the_sd():
    assert cohen_dz(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)


def test_bootstrap_stands_beside_t_only_from_40_units_on():
    result = bca_interval(np.arange(39.0))
    assert isinstance(result, Missing)
    assert "at least 40 processes, got 39" in result.reason
    assert not isinstance(bca_interval(np.arange(40.0)), Missing)


def test_bca_agrees_with_scipy_on_skewed_units_and_is_seeded():
    units = np.random.default_rng(3).exponential(size=50)
    ours = bca_interval(units)
    rng = np.random.default_rng(0)
    theirs = stats.bootstrap((units,), np.mean, n_resamples=30_000, method="BCa", rng=rng).confidence_interval
    assert ours == pytest.approx(tuple(theirs), abs=0.02)
    assert ours == bca_interval(units)
    assert bca_interval(np.ones(40)) == (1.0, 1.0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_raises_p_values_keeps_their_order_and_stays_below_bonferroni(p):
    adjusted = holm(p)
    assert all(x <= y <= min(1.0, len(p) * x) for x, y in zip(p, adjusted, strict=True))
    ranked = [adjusted[i] for i in np.argsort(p, kind="stable")]
    assert ranked == sorted(ranked)
