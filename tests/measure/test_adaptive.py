"""Rounds are added in whole balanced cycles until narrow enough or out of time, and the reason is kept."""

from __future__ import annotations

import pytest

from icd.errors import ConfigError
from icd.measure.adaptive import Adaptive
from icd.measure.latency import measure_rounds
from icd.measure.protocol import Protocol


class Clock:
    """Time that passes when a step runs."""

    def __init__(self):
        self.time_s = 0.0

    def now(self):
        return self.time_s

    def sleep(self, seconds):
        self.time_s += seconds


class Step:
    executed = {"source": "measured"}  # noqa: RUF012

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def __call__(self):
        self.clock.sleep(self.seconds)


def protocol(**changes):
    return Protocol("test", 1, 1, 3, 1, 0, ncu_enable=False, power_enable=False, **changes)


def adaptive(widths, *, budget_s=1e9, at_least=3):
    """Two arms, two rounds a cycle, 1 s a round; the width after each look comes from ``widths``."""
    clock = Clock()
    left = list(widths)
    steps = {name: Step(clock, 0.5) for name in ("linear", "aa")}
    orders = [["linear", "aa"], ["aa", "linear"]]
    rule = Adaptive(lambda k: orders, at_least, lambda samples: left.pop(0), 1.0, budget_s, clock)
    done = []
    record = measure_rounds(
        steps,
        rule.first(),
        protocol(),
        process=0,
        allocation=0,
        device="cpu",
        done=done.append,
        more=rule.more,
    )
    assert done == list(range(len(done)))
    return rule, record, len(done)


def test_cycles_are_added_until_the_width_is_reached():
    rule, record, rounds = adaptive([None, 3.0, 1.5, 0.9, 0.1])
    assert rounds == 10 and rule.criterion == "width"  # two cycles before the first look, then three
    assert {s.round for s in record.samples} == set(range(10))


def test_a_width_reached_at_once_takes_the_least_rounds_rounded_up_to_whole_cycles():
    assert adaptive([0.5])[2] == 4
    assert adaptive([0.5], at_least=2)[2] == 2


def test_the_budget_ends_it_with_whole_cycles_and_is_not_overrun():
    # the first look comes after 4 rounds and the warm-up of 1 s, at 5 s; a cycle of 2 s follows
    rule, record, rounds = adaptive([9.0] * 20, budget_s=11.0)
    assert rule.criterion == "time_budget" and rounds % 2 == 0 and rule.clock.now() <= 11.0
    by_arm = {arm: sum(s.arm == arm for s in record.samples) for arm in ("linear", "aa")}
    assert by_arm["linear"] == by_arm["aa"] == rounds


def test_a_budget_that_is_over_before_the_first_look_still_leaves_the_least_rounds():
    rule, _, rounds = adaptive([9.0], budget_s=0.1)
    assert rounds == 4 and rule.criterion == "time_budget"


@pytest.mark.parametrize("key", ["target_width_pct", "time_budget_s"])
def test_a_target_or_budget_of_nothing_is_refused(key):
    with pytest.raises(ConfigError, match=f"measure.{key}=0: expected more than 0"):
        protocol(**{key: 0})
