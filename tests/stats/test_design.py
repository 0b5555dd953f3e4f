from __future__ import annotations

from collections import Counter
from itertools import pairwise, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.stats.design import building, rounds

ARMS = st.integers(1, 9)
SEED = st.integers(0, 2**32 - 1)


@given(ARMS, st.integers(1, 3), SEED)
def test_over_full_cycles_each_arm_precedes_each_other_equally_often(n, cycles, seed):
    length = cycles * (2 * n if n % 2 else n)
    before = Counter(pair for order in rounds(n, length, seed) for pair in pairwise(order))
    assert set(before) == set(permutations(range(n), 2))
    assert len(set(before.values())) <= 1


@given(ARMS, st.integers(0, 30), SEED)
def test_at_any_length_positions_differ_by_at_most_one(n, length, seed):
    orders = rounds(n, length, seed)
    assert len(orders) == length
    assert all(sorted(order) == list(range(n)) for order in orders)
    for arm in range(n):
        counts = [sum(order[position] == arm for order in orders) for position in range(n)]
        assert max(counts) - min(counts) <= 1


@given(ARMS.filter(lambda n: n % 2 == 0), st.integers(1, 8), SEED)
def test_an_even_number_of_arms_is_measured_forth_and_back(n, pairs, seed):
    orders = rounds(n, 2 * pairs, seed)
    assert all(a == b[::-1] for a, b in zip(orders[::2], orders[1::2], strict=True))


def test_orders_are_seeded():
    assert rounds(6, 12, 0) == rounds(6, 12, 0)
    assert len({str(rounds(6, 12, seed)) for seed in range(20)}) == 20


def test_orders_are_lists_of_plain_integers():
    assert all(type(arm) is int for order in rounds(3, 6, 1) for arm in order)


@pytest.mark.parametrize(("n", "length"), [(0, 3), (2, -1)])
def test_impossible_designs_are_refused(n, length):
    with pytest.raises(ValueError, match="expected at least 1 arm"):
        rounds(n, length, 0)


@given(ARMS, st.integers(0, 3), SEED)
def test_over_the_processes_every_arm_is_built_at_every_place_of_every_allocation(n, allocation, seed):
    orders = [building(n, p, allocation, seed) for p in range(n)]
    assert orders == rounds(n, n, (seed * 1009 + 1008) * 1013 + allocation)
    assert all({order[place] for order in orders} == set(range(n)) for place in range(n))


def test_orders_of_building_differ_between_allocations_and_seeds_and_are_none_of_the_rounds():
    assert building(6, 0, 0, 0) != rounds(6, 1, 0)[0]
    orders = {str([building(6, p, k, seed) for p in range(3)]) for seed in range(10) for k in range(3)}
    assert len(orders) > 25  # of 30; there are 2880
