"""Simulated A/A controls whose arms owe their speed to where they lie, which every process repeats.

E experiments, P processes, A allocations. A place of an allocation has the same effect in all processes of an
experiment, as on a GPU whose fresh processes place alike; each copy has a little luck of its own. In %.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product

import numpy as np
import pytest

from icd.stats.design import building, rounds
from icd.stats.interval import t_bounds

E = 800
PLACE = 0.2  # sd of a place of an allocation: two copies differ by 0.28
COPY = 0.02  # sd of a copy besides, of all its rounds


def in_one_order(arms, process, allocation, allocations, seed):
    return list(range(arms))


def taking_turns(arms, process, allocation, allocations, seed):
    return building(arms, process, allocation, seed)


def one_behind_the_other(arms, process, allocation, allocations, seed):
    """Balanced over processes and allocations together, which leaves an allocation unbalanced."""
    number = process * allocations + allocation
    return rounds(arms, number + 1, seed)[number]


@lru_cache
def simulated(order, arms, processes, allocations):
    """How often an interval of two equal arms excludes 0; the sd of its middle."""
    rng = np.random.default_rng(5)
    place = rng.normal(0, PLACE, (E, allocations, arms))
    copies = rng.normal(0, COPY, (E, processes, allocations, 2))
    units = np.zeros((E, processes))
    for e, p, k in product(range(E), range(processes), range(allocations)):
        built = order(arms, p, k, allocations, e)
        first, second = place[e, k, built.index(0)], place[e, k, built.index(1)]
        units[e, p] += (first - second + copies[e, p, k, 0] - copies[e, p, k, 1]) / allocations
    lo, hi = t_bounds(units)
    return float(np.mean((lo > 0) | (hi < 0))), float(units.mean(-1).std())


@pytest.mark.parametrize(
    ("arms", "processes", "allocations"), [(2, 3, 1), (2, 3, 2), (2, 5, 2), (2, 3, 3), (6, 3, 1), (6, 3, 2)]
)
def test_luck_of_placement_that_processes_repeat_is_within_the_interval(arms, processes, allocations):
    wrong, _ = simulated(taking_turns, arms, processes, allocations)
    assert wrong <= 0.05
    always, _ = simulated(in_one_order, arms, processes, allocations)
    assert always > 0.75


def test_balance_over_processes_and_allocations_together_would_not_do():
    wrong, error = simulated(one_behind_the_other, 2, 3, 2)
    assert wrong > 0.15
    assert error > 1.5 * simulated(taking_turns, 2, 3, 2)[1]


def test_luck_of_placement_cancels_out_of_the_change():
    for arms in (2, 6):
        assert simulated(taking_turns, arms, 3, 2)[1] < 0.55 * simulated(in_one_order, arms, 3, 2)[1]
