from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.stats.verdict import equivalence_pct, fixed_floor_pct, noise_floor, verdict


@pytest.mark.parametrize(
    ("ci95", "expected"),
    [
        ([-30.0, -20.0], "WIN"),
        ([-0.9, -0.51], "WIN"),
        ([-0.9, -0.5], "EQUIVALENT"),  # the floor itself is no win
        ([0.51, 0.9], "LOSS"),
        ([0.5, 0.9], "EQUIVALENT"),
        ([-1.0, 1.0], "EQUIVALENT"),
        ([-1.1, 0.2], "AMBIGUOUS"),
        ([-0.2, 1.1], "AMBIGUOUS"),
        ([-30.0, 0.0], "AMBIGUOUS"),
        ([-30.0, 30.0], "AMBIGUOUS"),
    ],
)
def test_verdict_table_with_the_gpu_numbers(ci95, expected):
    assert verdict(ci95, floor=0.5, equivalence=1.0) == expected


@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0.1, 3))
def test_exchanging_the_arms_exchanges_win_and_loss(lo, width, floor):
    other = {"WIN": "LOSS", "LOSS": "WIN"}
    forward = verdict([lo, lo + width], floor=floor, equivalence=1.0)
    assert verdict([-lo - width, -lo], floor=floor, equivalence=1.0) == other.get(forward, forward)


def test_numbers_of_each_device():
    assert (fixed_floor_pct("cuda"), equivalence_pct("cuda:1")) == (0.5, 1.0)
    assert (fixed_floor_pct("cpu"), equivalence_pct("cpu")) == (2.0, 3.0)
    with pytest.raises(ValueError, match="expected cuda"):
        fixed_floor_pct("auto")


def test_floor_is_the_farther_end_of_aa_and_never_below_the_fixed_number():
    assert noise_floor({"ci95": [-1.4, 0.3]}, "cuda") == (1.4, None)
    assert noise_floor({"ci95": [-0.1, 0.3]}, "cuda") == (0.5, None)
    assert noise_floor({"ci95": [-0.1, 0.3]}, "cpu") == (2.0, None)


def test_floor_without_aa_is_the_fixed_number_with_a_reason():
    assert noise_floor(None, "cuda") == (0.5, "no A/A control in this run")
    floor = noise_floor({"ci95": None, "reason": "simulated"}, "cpu")
    assert floor == (2.0, "the A/A control has no interval: simulated")
