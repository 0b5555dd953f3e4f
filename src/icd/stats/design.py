"""The order of the arms inside each round, and that in which they are built.

An arm runs warmer, and with a fuller cache, behind another one. In a Williams design every arm precedes
every other one equally often, and takes every position equally often, so that neither what ran before
nor a drift favours an arm. E. J. Williams, Aust. J. Sci. Res. A 2 (1949), 149-168.

Where an arm's weights lie follows from what was built before it, and a fresh process places them alike:
built in the same order everywhere, an arm keeps the luck of its place through all processes, and no interval
over processes shows it. Independent orders would not do either: with few arms and processes all of them agree
too often (`tests/stats/test_placement.py`).
"""

from __future__ import annotations

import numpy as np

NO_PROCESS = 1008  # the last that `seed_of` tells apart, whose numbers order what is built


def rounds(n_arms: int, n_rounds: int, seed: int) -> list[list[int]]:
    """The order of the arms ``0 ... n_arms - 1`` in each of ``n_rounds`` rounds, seeded.

    Balanced for what directly precedes what over every cycle of n rounds (n even) or 2n (n odd). At
    any number of rounds, each arm's counts over the positions differ by at most one; for even n,
    successive rounds are each other's reversal, so that a linear drift cancels in pairs. Balance holds
    over the rounds of one call: ask once for all rounds of a process, with another seed per process.
    Raises ValueError for less than one arm or a negative number of rounds.
    """
    if n_arms < 1 or n_rounds < 0:
        raise ValueError(f"expected at least 1 arm and 0 rounds, got {n_arms} and {n_rounds}")
    rng = np.random.default_rng(seed)
    out: list[list[int]] = []
    while len(out) < n_rounds:
        name = rng.permutation(n_arms)
        out += [[int(name[arm]) for arm in order] for order in _cycle(n_arms, rng)]
    return out[:n_rounds]


def seed_of(seed: int, process: int, allocation: int) -> int:
    """The seed of the rounds of one allocation; cold and energy rounds take the number behind the last."""
    return (seed * 1009 + process) * 1013 + allocation


def building(n_arms: int, process: int, allocation: int, seed: int) -> list[int]:
    """In which order the ``allocation``-th copies of the arms are built in a process.

    A place is as lucky in every process as it is in this one, and another one in the next allocation. So the
    processes take turns, allocation by allocation: the orders of one allocation over all processes are one
    call's `rounds`, and an arm is at every place, and behind every other arm, about equally often.
    """
    return rounds(n_arms, process + 1, seed_of(seed, NO_PROCESS, allocation))[process]


def cycle_length(n_arms: int) -> int:
    """Rounds of one balanced cycle: n for an even number of arms, 2n for an odd one."""
    return n_arms if n_arms % 2 == 0 or n_arms == 1 else 2 * n_arms


def cycle(n_arms: int, number: int, seed: int) -> list[list[int]]:
    """The ``number``-th whole cycle (from 0) of the rounds that `rounds` gives for this seed."""
    length = cycle_length(n_arms)
    return rounds(n_arms, (number + 1) * length, seed)[number * length :]


def _cycle(n: int, rng: np.random.Generator) -> list[list[int]]:
    """One balanced cycle, in an order whose every prefix is balanced over positions."""
    zigzag = [k // 2 if k % 2 == 0 else n - 1 - k // 2 for k in range(n)]  # 0, n-1, 1, n-2, ...
    if n % 2:
        squares = [zigzag, zigzag[::-1]] if n > 1 else [zigzag]
        return [_shift(square, int(i)) for square in squares for i in rng.permutation(n)]
    # the shift by n/2 is the reversal
    return [_shift(zigzag, int(i) + half) for i in rng.permutation(n // 2) for half in (0, n // 2)]


def _shift(order: list[int], by: int) -> list[int]:
    return [(arm + by) % len(order) for arm in order]
