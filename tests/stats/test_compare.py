from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.errors import MeasurementError
from icd.stats.compare import compare, summarise
from icd.stats.interval import t_interval

from .build import by_process, experiment, sample

GPU = {"floor": 0.5, "equivalence": 1.0}


def against_one(*ratios: float, **kwargs: object) -> dict:
    """Arm a, `ratios` times as slow as b, one ratio a process."""
    rows = experiment({"a": by_process(*ratios), "b": by_process(1.0)}, processes=len(ratios), **kwargs)
    return compare(rows, "latency_ms", "a", "b", **GPU)


def test_delta_and_interval_by_hand():
    ratios = np.array([0.80, 0.82, 0.78])
    lo, hi = t_interval(np.log(ratios))
    out = against_one(*ratios)
    assert out["delta_pct"] == pytest.approx(100 * (math.exp(np.log(ratios).mean()) - 1))
    assert out["ci95"] == pytest.approx([100 * (math.exp(lo) - 1), 100 * (math.exp(hi) - 1)])
    assert out["effect"] == pytest.approx(np.log(ratios).mean() / np.log(ratios).std(ddof=1))
    assert (out["n_units"], out["verdict"], out["source"]) == (3, "WIN", "measured")
    assert out["p_value"] < 0.01
    assert "reason" not in out


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [
        ((0.80, 0.81, 0.79), "WIN"),
        ((1.20, 1.21, 1.19), "LOSS"),
        ((1.001, 0.999, 1.0), "EQUIVALENT"),
        ((1.05, 0.95, 1.0), "AMBIGUOUS"),
    ],
)
def test_every_verdict_is_reached_from_samples(ratios, expected):
    assert against_one(*ratios)["verdict"] == expected


def test_n_counts_processes_however_many_rounds_there_are():
    assert against_one(0.8, 0.81, rounds=50)["n_units"] == 2
    assert against_one(0.8, 0.81, rounds=50)["diagnostics"]["rounds"] == 200


def test_one_process_gives_a_delta_but_no_interval_and_no_verdict():
    out = against_one(0.8)
    assert out["delta_pct"] == pytest.approx(-20)
    assert (out["ci95"], out["verdict"], out["effect"]) == (None, None, None)
    assert out["reason"] == "an interval needs at least 2 processes, got 1"


def test_a_missing_arm_is_null_with_a_reason():
    out = compare([sample("b")], "latency_ms", "a", "b", **GPU)
    assert {k: out[k] for k in ("delta_pct", "ci95", "n_units", "verdict")} == {
        "delta_pct": None,
        "ci95": None,
        "n_units": 0,
        "verdict": None,
    }
    assert out["reason"] == "no latency_ms samples of arm a"


def test_simulated_values_give_a_delta_without_interval_or_verdict():
    out = against_one(0.8, 0.81, source="simulated")
    assert out["delta_pct"] == pytest.approx(-19.5, abs=0.01)
    assert (out["ci95"], out["verdict"], out["source"], out["reason"]) == (
        None,
        None,
        "simulated",
        "simulated",
    )


def test_differences_are_reported_as_they_are():
    rows = experiment(
        {"a": by_process(63.0, 64.0), "b": by_process(43.0)}, metric="l2_served_pct", processes=2
    )
    out = compare(rows, "l2_served_pct", "a", "b", floor=None, equivalence=None, kind="difference")
    assert out["delta"] == 20.5
    assert out["ci95"] == pytest.approx([20.5 - 6.353, 20.5 + 6.353], abs=1e-3)
    assert "delta_pct" not in out
    assert out["verdict"] is None


def one_round_spoilt(metric="latency_ms"):
    values = {"a": lambda p, a, r: 1 + (p + r) / 1e4, "b": by_process(1.0)}
    rows = experiment(values, metric=metric, processes=3, rounds=4)
    return [s._replace(value=9.0) if s[:5] == ("a", metric, 1, 0, 2) else s for s in rows]


def test_an_outlying_round_does_not_move_a_latency_and_the_mean_that_it_moves_stands_beside():
    out = compare(one_round_spoilt(), "latency_ms", "a", "b", **GPU)
    assert out["summary"] == "median"
    assert out["delta_pct"] == pytest.approx(0.0, abs=0.1)
    assert out["verdict"] == "EQUIVALENT"
    logs = np.array([[1 + (p + r) / 1e4 for r in range(4)] * 2 for p in range(3)])
    logs[1, 2] = 9.0
    assert out["delta_pct"] == pytest.approx(100 * math.expm1(np.median(np.log(logs), 1).mean()))
    assert out["mean_delta_pct"] == pytest.approx(100 * math.expm1(np.log(logs).mean()))
    assert out["mean_ci95"] == pytest.approx(
        [100 * math.expm1(end) for end in t_interval(np.log(logs).mean(1))]
    )
    assert out["diagnostics"]["outliers"] == 1
    assert out["diagnostics"]["delta_pct_without_outliers"] == pytest.approx(0.0, abs=0.1)


def test_energy_is_a_sum_of_which_no_round_is_left_out():
    out = compare(one_round_spoilt("energy_j"), "energy_j", "a", "b", **GPU)
    assert out["summary"] == "mean" and "mean_delta_pct" not in out
    assert out["delta_pct"] > 5
    points = compare(one_round_spoilt("l2_served_pct"), "l2_served_pct", "a", "b", kind="difference", **GPU)
    assert points["summary"] == "mean" and points["delta"] == pytest.approx(8 / 24, abs=0.01)


def test_the_mean_shows_pauses_of_one_arm_that_the_median_does_not():
    rows = experiment({"a": by_process(0.9), "b": by_process(1.0)}, processes=5, rounds=3, iterations=10)
    paused = [s._replace(value=2.7) if s.arm == "a" and s.iteration == 4 else s for s in rows]
    out = compare(paused, "latency_ms", "a", "b", **GPU)
    assert (out["delta_pct"], out["verdict"]) == (pytest.approx(-10), "WIN")
    assert out["mean_delta_pct"] == pytest.approx(100 * (0.9 * (9 + 3) / 10 - 1))  # a tenth takes three times
    lo, hi = out["mean_gap_ci95"]
    assert lo == pytest.approx(20) and hi == pytest.approx(20)  # 1.08 / 0.9, alike in every process


def test_a_record_from_before_summaries_were_named_is_of_the_mean_and_says_no_word_of_it():
    out = compare(one_round_spoilt(), "latency_ms", "a", "b", **GPU, summary="mean", named=False)
    assert out["delta_pct"] > 5
    assert not [key for key in out if "summary" in key or key.startswith("mean")]


def test_bootstrap_interval_appears_at_40_processes():
    ratios = np.exp(np.random.default_rng(0).normal(-0.1, 0.01, 40))
    out = against_one(*ratios, rounds=1, allocations=1, iterations=1)
    assert out["ci95_bca"] == pytest.approx(out["ci95"], abs=0.1)
    assert "ci95_bca" not in against_one(*ratios[:39], rounds=1, allocations=1, iterations=1)


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=6))
def test_a_comparison_is_plain_json_and_its_interval_holds_its_delta(ratios):
    out = against_one(*ratios, rounds=1)
    assert json.loads(json.dumps(out, allow_nan=False)) == out
    assert out["ci95"][0] - 1e-9 <= out["delta_pct"] <= out["ci95"][1] + 1e-9


def test_summary_by_hand():
    rows = [
        sample("a", v, process=p, iteration=i)
        for p, vs in enumerate([(1, 3), (4, 6)])
        for i, v in enumerate(vs)
    ]
    out = summarise(rows, "latency_ms", "a")
    assert (out["mean"], out["p50"], out["n"], out["source"]) == (3.5, 3.5, 4, "measured")
    assert out["p95"] == pytest.approx(np.percentile([1, 3, 4, 6], 95))
    share = 12.706 * 1.5 / 3.5  # t(1) x sd / sqrt(2), of the mean
    assert out["ci95"] == pytest.approx([3.5 * np.exp(-share), 3.5 * np.exp(share)], rel=1e-3)


def test_summary_of_one_process_or_of_simulated_values_has_no_interval():
    assert (
        summarise([sample("a")], "latency_ms", "a")["reason"]
        == "an interval needs at least 2 processes, got 1"
    )
    rows = [sample("a", process=p, source="simulated") for p in range(3)]
    assert summarise(rows, "latency_ms", "a") | {"p95": 1.0} == {
        **dict.fromkeys(("mean", "p50", "p95"), 1.0),
        "ci95": None,
        "reason": "simulated",
        "n": 3,
        "source": "simulated",
    }


def test_summary_of_an_absent_arm_is_null_with_a_reason():
    out = summarise([], "latency_ms", "a")
    assert (out["mean"], out["n"], out["source"]) == (None, 0, None)
    assert out["reason"] == "no latency_ms samples of arm a"


def test_measured_and_simulated_values_are_never_averaged():
    rows = [sample("a"), sample("a", iteration=1, source="simulated")]
    with pytest.raises(MeasurementError, match="one source"):
        summarise(rows, "latency_ms", "a")
