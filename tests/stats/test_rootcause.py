"""Each cause of a rollback is found where it was put, denied where it was not, unknown without figures."""

from __future__ import annotations

import pytest

from icd.stats.rootcause import (
    cache_without_speed,
    clock_drift,
    kernel_change,
    not_the_layout,
    out_of_time,
    root_cause,
    variance,
)

from .build import sample


def rows(iterative: float | None, linear: float | None, warmth: tuple[float, float] = (50.0, 50.0)):
    return [
        sample(arm, 1.0, process=p, round=r, clock=clock, temperature=t if clock else None)
        for p in range(3)
        for r in range(2)
        for arm, clock, t in (("iterative", iterative, warmth[0]), ("linear", linear, warmth[1]))
    ]


def figure(value, lo, hi, **diagnostics):
    return {
        "delta_pct": value,
        "ci95": [lo, hi],
        "floor_pct": 0.5,
        "verdict": "LOSS",
        "diagnostics": diagnostics,
    }


@pytest.mark.parametrize(
    ("samples", "supported"),
    [
        (rows(1900.0, 1980.0), True),
        (rows(1980.0, 1980.0), False),
        (rows(1980.0, 1900.0), False),
        (rows(1980.0, 1980.0, (60.0, 55.0)), True),
        (rows(None, None), None),
    ],
)
def test_a_lower_clock_or_a_hotter_device_in_the_new_arm_is_drift(samples, supported):
    assert clock_drift(samples)["supported"] is supported


def test_only_rounds_in_which_both_arms_were_read_are_compared():
    lonely = [sample("iterative", 1.0, process=9, clock=100.0)]
    assert clock_drift([*rows(1980.0, 1980.0), *lonely])["supported"] is False


def test_another_kernel_engine_or_width_is_named():
    old = {"engine": "compact", "kernel": "cublas", "sites": {"a": [64, 128]}, "reason": "x"}
    assert kernel_change({**old, "reason": "y"}, old)["supported"] is False
    other = kernel_change({**old, "kernel": "triton", "sites": {"a": [96, 128]}}, old)
    assert other["supported"] is True
    assert "kernel: cublas -> triton" in other["evidence"] and "a, 64 -> 96 channels" in other["evidence"]


@pytest.mark.parametrize(
    ("l2", "latency", "supported"),
    [
        ([1.0, 3.0], 5.0, True),
        ([-3.0, -1.0], 5.0, False),
        ([1.0, 3.0], -5.0, False),
        (None, 5.0, None),
    ],
)
def test_a_better_cache_with_a_worse_latency_is_seen(l2, latency, supported):
    compared = {
        "l2_pp": {"delta": l2 and sum(l2) / 2, "ci95": l2, "reason": "no counter"},
        "latency": figure(latency, latency - 1, latency + 1),
    }
    assert cache_without_speed(compared)["supported"] is supported


def test_a_solver_out_of_time_is_named_with_its_first_site():
    assert out_of_time([])["supported"] is False
    found = out_of_time(["layer.0.heads", "layer.1.heads"])
    assert found["supported"] is True and "2 site(s), first layer.0.heads" in found["evidence"]


@pytest.mark.parametrize(
    ("block", "supported"),
    [
        (figure(5.0, 4.5, 5.5), False),
        (figure(5.0, 1.0, 9.0), True),
        (figure(5.0, 4.5, 5.5, lag1={"flagged": True}), True),
        (figure(5.0, 4.5, 5.5, outliers=2, ci95_without_outliers=[4.0, 5.0]), False),
        (figure(5.0, 4.5, 5.5, outliers=2, ci95_without_outliers=[-0.2, 5.0]), True),
        ({"delta_pct": 5.0, "ci95": None}, None),
    ],
)
def test_wide_intervals_correlated_rounds_and_outliers_that_matter_are_variance(block, supported):
    assert variance({"latency": block})["supported"] is supported


def test_a_difference_that_stays_when_both_arms_have_one_layout_is_not_the_layout_s():
    def again(lo, hi, verdict):
        block = {"delta_pct": (lo + hi) / 2, "ci95": [lo, hi], "verdict": verdict}
        return not_the_layout({"iterative_vs_linear": {"latency": block}})

    assert again(3.0, 5.0, "LOSS")["supported"] is True
    assert again(-0.2, 0.2, "EQUIVALENT")["supported"] is False
    assert not_the_layout({})["supported"] is None


def test_all_six_are_examined_each_with_a_sentence():
    first = {
        "arms": {"iterative": {"executed": {}}, "linear": {"executed": {}}},
        "compare": {"iterative_vs_linear": {"latency": figure(5.0, 4.5, 5.5)}},
    }
    found = root_cause(first, rows(1980.0, 1980.0), {}, [])
    assert len({answer["cause"] for answer in found}) == 6
    assert all(answer["evidence"].endswith(".") for answer in found)
