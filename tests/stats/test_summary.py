"""The median that makes a unit of a process's rounds, against plain twins."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.stats.derive import derive
from icd.stats.summary import process_units, robust_sd, summary_of, weighted_median

from .build import by_process, experiment


def plain_median(allocations: list[list[float]]) -> float:
    """Twin: so many copies of every round that all allocations have equally many, and their plain median."""
    least = math.lcm(*(len(rounds) for rounds in allocations))
    return statistics.median(x for rounds in allocations for x in rounds * (least // len(rounds)))


@given(
    st.lists(st.lists(st.lists(st.floats(-1, 1), min_size=1, max_size=6), min_size=1, max_size=4), min_size=1)
)
def test_units_are_medians_in_which_every_allocation_weighs_the_same(processes):
    rows = [(p, a, x) for p, al in enumerate(processes) for a, rounds in enumerate(al) for x in rounds]
    process, allocation, rounds = (np.array(column) for column in zip(*rows, strict=True))
    found = process_units(rounds, process, allocation, "median")
    np.testing.assert_allclose(found, [plain_median(p) for p in processes], rtol=0, atol=1e-12)


def test_units_of_many_experiments_are_those_of_each():
    rounds = np.random.default_rng(0).normal(size=(7, 12))
    process, allocation = np.repeat([0, 1, 2], 4), np.array([0, 0, 0, 1] * 3)
    together = process_units(rounds, process, allocation, "median")
    each = [process_units(row, process, allocation, "median") for row in rounds]
    assert np.array_equal(together, each) and together.shape == (7, 3)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_equal_weights_give_the_plain_median(values):
    found = weighted_median(np.array(values), np.full(len(values), 1 / len(values)))
    assert found == np.median(values)


def test_every_allocation_weighs_the_same_in_the_mean_too():
    rounds = np.array([1.0, 1.0, 1.0, 4.0])
    labels = np.zeros(4, int), np.array([0, 0, 0, 1])
    assert process_units(rounds, *labels, "mean").tolist() == [2.5]
    assert process_units(rounds, *labels, "median").tolist() == [
        2.5
    ]  # three that weigh 1/6 against one of 1/2


def test_two_rounds_have_no_median_but_their_mean():
    rounds, labels = np.array([0.0, 5.0]), (np.zeros(2, int), np.zeros(2, int))
    assert process_units(rounds, *labels, "median") == process_units(rounds, *labels, "mean") == 2.5


def test_the_robust_deviation_is_scipy_s_and_falls_back_where_most_values_coincide():
    from scipy import stats

    x = np.random.default_rng(1).normal(size=(3, 11))
    np.testing.assert_allclose(robust_sd(x), stats.median_abs_deviation(x, -1, scale="normal"), rtol=1e-4)
    assert robust_sd(np.array([1.0] * 9 + [2.0])) == pytest.approx(0.12533)


@pytest.mark.parametrize(
    ("block", "metric", "summary"),
    [
        ("latency", "latency_ms", "median"),
        ("latency_cold", "latency_cold_ms", "median"),
        ("ept", "energy_j", "mean"),
        ("dram", "dram_bytes_per_token", "mean"),
        ("l2_pp", "l2_served_pct", "mean"),
    ],
)
def test_times_take_the_median_and_sums_and_counts_the_mean(block, metric, summary):
    assert summary_of(metric) == summary
    rows = experiment({"linear": by_process(2.0), "aa": by_process(2.0, 2.1)}, metric=metric)
    found = derive(rows, ("linear", "aa"), device="cuda", tokens=1)["compare"]["aa"][block]
    assert found["summary"] == summary
    assert ("mean_delta_pct" in found) == (summary == "median")
    earlier = derive(rows, ("linear", "aa"), device="cuda", tokens=1, summary=None)["compare"]["aa"][block]
    assert not {"summary", "mean_delta_pct", "mean_ci95", "mean_gap_ci95"} & set(earlier)
