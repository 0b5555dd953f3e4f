"""A 64-bit xorshift* generator (Vigna 2016): explicit state, so chains repeat in any thread."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

MULTIPLIER = np.uint64(2685821657736338717)


def seeded(seed: int) -> Any:
    """State of a generator, uint64 (1,), never zero."""
    return np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1)


@njit(cache=True, nogil=True, inline="always")
def draw(state: Any) -> Any:
    """The next 64 random bits."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return x * MULTIPLIER


@njit(cache=True, nogil=True, inline="always")
def below(state: Any, n: int) -> Any:
    """A whole number in [0, n); n below 2**32."""
    return np.int64(((draw(state) >> np.uint64(32)) * np.uint64(n)) >> np.uint64(32))


@njit(cache=True, nogil=True, inline="always")
def uniform(state: Any) -> Any:
    """A number in [0, 1)."""
    return np.float64(draw(state) >> np.uint64(11)) * 1.1102230246251565e-16
