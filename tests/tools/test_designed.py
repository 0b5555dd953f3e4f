"""Raw samples of an adaptive stop against its rule: whole cycles, enough of them, and none too many."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from icd.contracts import Sample
from icd.tools.recheck.designed import blocks, cycles
from icd.tools.recheck.recorded import Recorded

ARMS = ("linear", "iterative")


def recorded(**measure):
    asked = {"stop": "adaptive", "rounds": 3, "processes": 1, "allocations": 1, "target_width_pct": 1.0}
    arms = {arm: {"executed": {}} for arm in ARMS}
    return Recorded(Path("run"), {"arms": arms, "derivation": {}}, {"measure": {**asked, **measure}}, {})


def samples(count, spread=0.2, iterations=1):
    """Two arms in ``count`` rounds, apart by ``spread``, now the one way and now the other."""
    return [
        Sample(
            arm, "latency_ms", 0, 0, number, position, i,
            10.0 * math.exp(0.0 if position else spread * (-1) ** number),
            "ms", "measured",
        )
        for number in range(count)
        for position, arm in enumerate(ARMS)
        for i in range(iterations)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rounds", "said"),
    [(4, None), (6, None), (5, "whole cycles of 2"), (2, "4 rounds at least"), (0, "0 rounds")],
)
def test_an_adaptive_stop_takes_whole_cycles_and_enough_of_them(rounds, said):
    found = cycles(recorded(), samples(rounds), 2)
    assert found == [] if said is None else len(found) == 1 and said in found[0]
    assert cycles(recorded(stop="fixed"), samples(rounds), 2) == []


def test_three_arms_are_balanced_over_six_rounds():
    assert cycles(recorded(), samples(6), 3) == []
    (found,) = cycles(recorded(), samples(4), 3)
    assert "whole cycles of 6, 6 rounds at least" in found


def test_rounds_behind_a_stop_that_was_precise_enough_are_found():
    assert cycles(recorded(), samples(6, spread=0.0), 2) != []
    assert cycles(recorded(), samples(4, spread=0.0), 2) == []
    assert cycles(recorded(), samples(8, spread=0.0004, iterations=3), 2)[0].startswith(
        "samples.csv.gz: process 0, allocation 0: 8 rounds; 4 of them were precise enough"
    )


@pytest.mark.parametrize("change", [{"rounds": 6}, {"iterations": 4}, {"allocation": 1}])
def test_what_a_process_says_of_its_blocks_is_what_the_samples_hold(change):
    taken = samples(4, iterations=3)
    told = {"metric": "latency_ms", "allocation": 0, "rounds": 4, "iterations": 3}
    assert blocks(taken, [{"blocks": [told]}]) == []
    assert blocks(taken, [{"blocks": [{**told, **change}]}]) != []
    assert blocks(taken, [{"blocks": [told, {**told, "allocation": 7}]}]) != []
    assert blocks(taken, [{}]) == ["env.json: process 0 does not say its blocks"]
