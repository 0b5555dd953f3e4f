"""What follows from arms and layouts without a sample: quality in points, tiles, seconds, sites cut short."""

from __future__ import annotations

import pytest

from icd.pipeline.computed import arm_cost, computed
from icd.pipeline.solved import KEPT, cut_short, solver_block


def arm(metric="cosine", value=0.9, live=4):
    return {
        "cost": {"C": 0.2, "Q": 0.1, "J": 0.0},
        "tiles": {"live": live, "total": 8},
        "quality": {"metric": metric, "value": value, "reason": None if value else "no probes"},
    }


def against(a, b):
    return computed("iterative_vs_linear", {"iterative": a, "linear": b})


def test_quality_against_dense_is_stated_for_what_is_relative_to_it():
    out = against(arm(value=0.9), arm(value=0.92))
    assert out["quality_pp"] == pytest.approx(-2) and out["quality_vs_dense_pp"] == pytest.approx(-10)


@pytest.mark.parametrize(
    ("metric", "a", "b", "points"),
    [("perplexity", 12.5, 10.0, -20.0), ("accuracy", 0.6, 0.7, -10.0), ("mine", 3.0, 2.0, 100.0)],
)
def test_a_figure_that_is_not_relative_to_dense_is_not_taken_for_one(metric, a, b, points):
    out = against(arm(metric, a), arm(metric, b))
    assert out["quality_pp"] == pytest.approx(points)
    assert out["quality_vs_dense_pp"] is None and metric in out["quality_vs_dense_reason"]


def test_two_metrics_are_not_compared_and_a_missing_one_gives_its_reason():
    assert against(arm("cosine"), arm("accuracy"))["quality_pp"] is None
    assert against(arm(value=None), arm())["quality_reason"] == "no probes"
    assert against(arm(), arm(value=None))["quality_reason"] == "no probes"


def test_an_arm_without_tiles_has_no_change_of_tiles():
    assert against(arm(live=2), arm(live=4))["tiles"]["delta_pct"] == -50.0
    assert against(arm(), arm(live=0))["tiles"] == {
        "delta_pct": None,
        "reason": "the base arm executes no tile",
    }


def test_arms_of_the_dense_values_share_their_cost_and_shuffle_has_none():
    totals = {"dense": {"T": 1.0, "C": 0.3, "Q": 0.2, "J": 0.1}}
    assert arm_cost(totals, "dense_bf16") == arm_cost(totals, "dense") == {"C": 0.3, "Q": 0.2, "J": 0.1}
    assert arm_cost(totals, "shuffle")["C"] is None and arm_cost(totals, "shuffle")["reason"]


def solved(**more):
    return {"seconds": 1.0, "time_limited": False, "chosen": "tile", "cache": "miss", **more}


def test_a_site_whose_solver_never_began_is_a_timeout_and_one_of_a_rejected_step_counts():
    sites = [
        {"site": "a", "solver": {"before": solved(chosen=KEPT, time_limited=True), "after": {}}},
        {"site": "b", "solver": {"before": solved(cache="hit"), "after": {}}},
    ]
    rejected = {"elapsed_s": 3.0, **cut_short({"a": solved(), "b": solved(time_limited=True)})}
    out = solver_block(sites, [{"elapsed_s": 2.0}, rejected], {})
    assert out["time_limited"] == ["a", "b"] and out["timeouts"] == ["a"]
    assert out["seconds"] == 5.0 and out["cache_hits"] == 1
    assert solver_block(sites, [], {})["seconds"] == 2.0
    assert cut_short({"a": solved()}) == {}
