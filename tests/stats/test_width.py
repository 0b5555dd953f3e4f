"""The width that ends an allocation, and that ending on it leaves the false positives where they were."""

from __future__ import annotations

import numpy as np
import pytest

from icd.stats.design import cycle, cycle_length, rounds
from icd.stats.interval import median_bounds, t_bounds
from icd.stats.width import allocation, process, stopped, widest_pct, widths_pct

from .build import experiment, sample

RATIOS = [0.010, 0.012, 0.014, 0.009]


def of_rounds(ratios):
    values = [sample("aa", float(np.exp(x)), round=r) for r, x in enumerate(ratios)]
    return values + [sample("linear", 1.0, round=r) for r in range(len(ratios))]


def test_the_width_is_that_of_the_interval_of_the_median_over_rounds_in_percent():
    from scipy import stats

    middle = np.median(RATIOS)
    error = stats.median_abs_deviation(RATIOS, scale="normal") * 4 / 3.2 * np.sqrt(np.pi / 2 / 4)
    lo, hi = stats.t.interval(0.95, 3, loc=middle, scale=error)
    expected = pytest.approx(100 * (np.exp(hi) - np.exp(lo)), rel=1e-4)
    assert widths_pct(of_rounds(RATIOS), ["linear", "aa"]) == {"aa": expected}


def test_an_earlier_record_s_width_is_that_of_the_t_interval_over_rounds():
    from scipy import stats

    lo, hi = stats.t.interval(0.95, 3, loc=np.mean(RATIOS), scale=stats.sem(RATIOS))
    expected = pytest.approx(100 * (np.exp(hi) - np.exp(lo)))
    assert widths_pct(of_rounds(RATIOS), ["linear", "aa"], "mean") == {"aa": expected}


def test_one_disturbed_round_does_not_keep_an_adaptive_stop_from_its_width():
    quiet = np.random.default_rng(8).normal(0, 0.005, 12)
    spoilt = np.where(np.arange(12) == 3, np.log(10), quiet)
    before, after, of_means = (
        widest_pct(of_rounds(x), ["linear", "aa"], s)
        for x, s in ((quiet, "median"), (spoilt, "median"), (spoilt, "mean"))
    )
    assert after < 1.5 * before < 0.02 * of_means


@pytest.mark.parametrize("rounds", [6, 12, 18])
def test_intervals_of_the_median_of_an_allocation_hold_it_in_92_to_97_percent(rounds):
    lo, hi = median_bounds(np.random.default_rng(rounds).normal(size=(20_000, rounds)))
    assert 0.92 <= np.mean((lo <= 0) & (hi >= 0)) <= 0.97


def test_the_widest_comparison_counts_and_one_round_has_no_width():
    noisy = {"linear": lambda p, a, r: 1.0, "aa": lambda p, a, r: 1.0 + 0.1 * r, "dense": lambda p, a, r: 2.0}
    samples = experiment(noisy, processes=1, allocations=1, rounds=4)
    widths = widths_pct(samples, list(noisy))
    assert widths["linear_vs_dense"] == pytest.approx(0) and widest_pct(samples, list(noisy)) == widths["aa"]
    assert widest_pct([s for s in samples if s.round == 0], list(noisy)) is None
    assert widest_pct(samples, ["dense"]) is None


def test_what_ended_a_process_is_its_first_allocation_that_did_not_get_narrow():
    parts = [
        {"allocation": 0, "criterion": "width", "rounds": 6, "width_pct": 0.5},
        {"allocation": 1, "criterion": "time_budget", "rounds": 12, "width_pct": 1.5},
    ]
    found = process(3, parts)
    assert (found["criterion"], found["rounds"], found["width_pct"]) == ("time_budget", 18, 1.5)
    assert process(0, parts[:1])["criterion"] == "width"


def test_a_record_is_computed_again_from_samples():
    arms = {"linear": lambda p, a, r: 1.0 + 0.01 * r, "aa": lambda p, a, r: 1.0 + 0.02 * a}
    samples = experiment(arms, processes=2, allocations=2, rounds=3)
    recorded = [
        process(
            p,
            [
                allocation(
                    a, "rounds", [s for s in samples if (s.process, s.allocation) == (p, a)], list(arms)
                )
                for a in range(2)
            ],
        )
        for p in range(2)
    ]
    assert stopped(recorded, samples, list(arms)) == recorded
    assert [p["rounds"] for p in recorded] == [6, 6]


@pytest.mark.parametrize("arms", [1, 2, 5, 6, 7])
def test_cycles_follow_one_another_as_in_one_call(arms):
    length = cycle_length(arms)
    together = [order for k in range(3) for order in cycle(arms, k, seed=4)]
    assert together == rounds(arms, 3 * length, seed=4)
    positions = np.array(cycle(arms, 1, seed=4))
    assert all((np.sum(positions == arm, axis=0) == length // arms).all() for arm in range(arms))


E, P, CYCLE, MOST = 3000, 5, 6, 8  # experiments, processes, rounds of a cycle, cycles at most


def units_of(x, stop):
    """(E, P) medians of ``x`` (E, P, rounds) over whole cycles, up to where ``stop(lo, hi)`` first holds."""
    units, ended = np.full((E, P), np.nan), np.zeros((E, P), int)
    for k in range(1, MOST + 1):
        part = x[..., : k * CYCLE]
        now = np.isnan(units) & (stop(*median_bounds(part)) | (k == MOST))
        units[now], ended[now] = np.median(part, -1)[now], k
    return units, ended


@pytest.mark.parametrize("skewed", [False, True])
def test_stopping_on_width_leaves_two_equal_arms_false_positives_at_about_5_percent(skewed):
    rng = np.random.default_rng(5)
    noise = (
        rng.exponential(size=(E, P, MOST * CYCLE)) - np.log(2)
        if skewed
        else rng.normal(size=(E, P, MOST * CYCLE))
    )
    spread = rng.uniform(0.0005, 0.002, (E, P, 1))  # differs between processes, and so does where they stop
    x = rng.normal(0, 0.0025, (E, P, 1)) + spread * noise
    units, ended = units_of(x, lambda lo, hi: hi - lo <= 0.0016)
    assert len(np.unique(ended)) == MOST
    lo, hi = t_bounds(units)
    assert 0.035 <= np.mean((lo > 0) | (hi < 0)) <= 0.065


def test_stopping_when_the_new_arm_is_ahead_would_make_false_wins():
    x = np.random.default_rng(6).normal(size=(E, P, MOST * CYCLE))
    by_width, _ = units_of(x, lambda lo, hi: hi - lo <= 1.0)
    by_sign, _ = units_of(x, lambda lo, hi: lo + hi < 0)
    wins = [float(np.mean(t_bounds(units)[1] < 0)) for units in (by_width, by_sign)]
    assert wins[0] <= 0.035 and wins[1] > 0.05
