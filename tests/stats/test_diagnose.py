from __future__ import annotations

import numpy as np

from icd.contracts import Missing
from icd.stats.diagnose import lag1, mad_outliers, without_outliers
from icd.stats.summary import process_units
from icd.stats.units import Units


def units_of(rounds: np.ndarray, summary: str = "mean") -> Units:
    """Units of rounds (processes, allocations, rounds)."""
    process, allocation, round_ = (x.ravel() for x in np.indices(rounds.shape))
    values = rounds.ravel()
    return Units(
        units=process_units(values, process, allocation, summary),
        processes=tuple(range(len(rounds))),
        rounds=values,
        process=process,
        allocation=allocation,
        round=round_,
        unpaired=0,
        source="measured",
        kind="ratio",
        summary=summary,
        means=process_units(values, process, allocation, "mean"),
    )


def test_independent_rounds_with_placement_show_no_autocorrelation():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(400):
        placement = rng.normal(0, 5, (5, 2, 1))
        result = lag1(units_of(placement + rng.normal(size=(5, 2, 5))))
        assert not isinstance(result, Missing)
        values.append(result)
    assert abs(np.mean([v.value for v in values])) < 0.02
    assert np.mean([v.flagged for v in values]) < 0.08
    assert values[0].steps == 40


def test_a_drift_through_the_rounds_is_flagged():
    noise = np.random.default_rng(1).normal(0, 0.1, (3, 2, 6))
    result = lag1(units_of(np.arange(6.0) + noise))
    assert not isinstance(result, Missing)
    assert result.flagged
    assert result.value > 0.4


def test_too_few_or_constant_rounds_have_no_autocorrelation():
    few, constant = lag1(units_of(np.ones((2, 2, 2)))), lag1(units_of(np.ones((3, 2, 4))))
    assert isinstance(few, Missing)
    assert "got 4" in few.reason
    assert isinstance(constant, Missing)


def test_outliers_are_flagged_by_distance_in_robust_deviations():
    assert mad_outliers(np.array([1.0, 1.1, 0.9, 1.05, 9.0])).tolist() == [False] * 4 + [True]
    assert not mad_outliers(np.ones(5)).any()
    assert mad_outliers(np.array([1.0] * 9 + [2.0])).tolist() == [False] * 9 + [True]
    assert not mad_outliers(np.array([1.0, 2.0])).any()


def test_sensitivity_is_the_units_without_the_flagged_rounds():
    rounds = np.random.default_rng(2).normal(0, 0.01, (3, 2, 4))
    rounds[1, 0, 2] = 5.0
    result = without_outliers(units_of(rounds))
    by_hand = rounds.mean(2)
    by_hand[1, 0] = np.delete(rounds[1, 0], 2).mean()
    assert result.flagged == ((1, 0, 2),)
    np.testing.assert_allclose(result.units, by_hand.mean(1))


def test_sensitivity_of_medians_is_made_of_medians():
    rounds = np.random.default_rng(3).uniform(-0.01, 0.01, (2, 2, 5))
    rounds[1, 0, 2] = 5.0
    result = without_outliers(units_of(rounds, "median"))
    kept = np.delete(rounds[1].ravel(), 2)
    # nine rounds of two allocations: those of the one that lost a round weigh 1/8 each, the others 1/10
    order, weights = np.argsort(kept), np.where(np.arange(9) < 4, 1 / 8, 1 / 10)
    middle = kept[order][np.searchsorted(np.cumsum(weights[order]), 0.5)]
    np.testing.assert_allclose(result.units, [np.median(rounds[0]), middle])
