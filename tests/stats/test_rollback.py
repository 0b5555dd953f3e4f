"""When a new layout counts as worse: two figures, each on the bad side of its floor with its interval."""

from __future__ import annotations

import pytest

from icd.stats.rollback import decide, judge

KEPT = [{"accepted": None}, {"accepted": True}]


def block(value, lo, hi, verdict, **more):
    return {
        "delta_pct": value,
        "ci95": [lo, hi],
        "verdict": verdict,
        "floor_pct": 0.5,
        "source": "measured",
        **more,
    }


LOSS = block(5.0, 4.0, 6.0, "LOSS")
EQUAL = block(0.1, -0.3, 0.4, "EQUIVALENT")
WORSE_L2 = {"delta": -4.0, "ci95": [-5.0, -3.0], "source": "measured"}
NO_L2 = {"delta": None, "ci95": None, "source": None, "reason": "no counter"}


def compared(latency=EQUAL, ept=EQUAL, l2=NO_L2, aa_l2=None):
    return {
        "iterative_vs_linear": {"latency": latency, "ept": ept, "l2_pp": l2},
        "aa": {"l2_pp": {"ci95": aa_l2}},
    }


@pytest.mark.parametrize(
    ("blocks", "worse", "triggered"),
    [
        ({"latency": LOSS, "ept": LOSS}, ["latency", "ept"], True),
        ({"latency": LOSS, "l2": WORSE_L2}, ["latency", "l2"], True),
        ({"latency": LOSS, "ept": LOSS, "l2": WORSE_L2}, ["latency", "l2", "ept"], True),
        ({"latency": LOSS}, ["latency"], False),
        ({"l2": WORSE_L2}, ["l2"], False),
        ({}, [], False),
        ({"latency": LOSS, "ept": {**LOSS, "source": "simulated"}}, ["latency"], False),
        (
            {"latency": LOSS, "ept": {"delta_pct": None, "ci95": None, "reason": "no counter"}},
            ["latency"],
            False,
        ),
        ({"latency": LOSS, "ept": block(3.0, -1.0, 7.0, "AMBIGUOUS")}, ["latency"], False),
    ],
)
def test_two_worse_figures_roll_back_and_one_does_not(blocks, worse, triggered):
    found = decide(compared(**blocks), KEPT, "cuda:0", enabled=True)
    assert (found["metrics"], found["triggered"]) == (worse, triggered)
    assert (found["reason"] is None) is triggered


def test_l2_has_to_fall_by_more_than_two_copies_of_one_arm_differ_by():
    ends = {"delta": -4.0, "ci95": [-5.0, -3.0], "source": "measured"}
    assert judge("l2", ends, {"ci95": [-0.2, 0.1]}, "cuda:0")["worse"] is True
    assert judge("l2", ends, {"ci95": [-0.2, 3.5]}, "cuda:0")["worse"] is False
    assert judge("l2", {**ends, "ci95": [-0.9, -0.4]}, {}, "cuda:0")["worse"] is False


def test_what_is_not_known_counts_as_neither_and_says_why():
    figure = decide(compared(latency=LOSS), KEPT, "cpu", enabled=True)["figures"]["l2"]
    assert figure["worse"] is None and figure["reason"] == "no counter"


@pytest.mark.parametrize(
    ("compare", "iterations", "enabled", "reason"),
    [
        ({}, [], True, "no iterative arm"),
        (compared(LOSS, LOSS), [{"accepted": None}, {"accepted": False}], True, "already"),
        (compared(LOSS, LOSS), KEPT, False, "pipeline.rollback=false"),
        (compared(LOSS), KEPT, True, "1 of 2 known figures worse; 2 are needed"),
    ],
)
def test_where_nothing_is_rolled_back_the_reason_says_why(compare, iterations, enabled, reason):
    found = decide(compare, iterations, "cpu", enabled=enabled)
    assert found["triggered"] is False and reason in found["reason"]
