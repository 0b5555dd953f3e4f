"""Where the annealing starts: similar channels, and blocks grown from seeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from icd.solver._bitset_core import popcount


@njit(cache=True, nogil=True)
def jaccard_neighbours(sample: Any, k: int, stop: Any = None) -> Any:
    """The k most similar channels of each, (D, k) int32, by Jaccard overlap of ``sample`` (D, words).

    Ends early once ``stop`` (1,) is not 0; then some lists are short of their best.
    """
    channels, words = sample.shape
    size = np.zeros(channels, np.int64)
    for c in range(channels):
        for w in range(words):
            size[c] += np.int64(popcount(sample[c, w]))
    near = np.zeros((channels, k), np.int32)
    likeness = np.full((channels, k), -1.0)
    for c in range(channels):
        if stop is not None:  # noqa: SIM102 - compiled without an alarm where none is given
            if stop[0] != 0:
                break
        for d in range(c + 1, channels):
            common = np.int64(0)
            for w in range(words):
                common += np.int64(popcount(sample[c, w] & sample[d, w]))
            value = common / max(1, size[c] + size[d] - common)
            if value > likeness[c, k - 1]:
                insert(near[c], likeness[c], d, value)
            if value > likeness[d, k - 1]:
                insert(near[d], likeness[d], c, value)
    return near


@njit(cache=True, nogil=True, inline="always")
def insert(near: Any, likeness: Any, d: int, value: float) -> None:
    """Insert into a list sorted by falling likeness; the last entry falls out."""
    at = len(near) - 1
    while at > 0 and likeness[at - 1] < value:
        near[at] = near[at - 1]
        likeness[at] = likeness[at - 1]
        at -= 1
    near[at] = d
    likeness[at] = value


@njit(cache=True, nogil=True)
def grow_blocks(
    indptr: Any,
    indices: Any,
    by_channel_ptr: Any,
    by_channel: Any,
    weights: Any,
    block: int,
    stop: Any = None,
) -> Any:
    """Order made by growing one block after another: the heaviest free channel seeds a block, then the
    channel joins that adds least, ``weight of new nets - 0.001 x own weight``, until the block is full.

    ``indptr, indices``: CSR of nets x channels; ``by_channel*``: the same by channel. Once ``stop`` (1,) is
    not 0 the channels that are left come as they are.
    """
    channels = len(by_channel_ptr) - 1
    demand = np.zeros(channels)
    for c in range(channels):
        for e in range(by_channel_ptr[c], by_channel_ptr[c + 1]):
            demand[c] += weights[by_channel[e]]
    free = np.ones(channels, np.bool_)
    order = np.empty(channels, np.int32)
    covered = np.full(len(weights), -1, np.int64)
    shared = np.zeros(channels)
    filled = 0
    for p in range(channels):
        if stop is not None:  # noqa: SIM102 - compiled without an alarm where none is given
            if stop[0] != 0:
                break
        b = p // block
        first = p % block == 0
        if first:
            shared[:] = 0.0
        best = -1
        best_value = 0.0
        for c in range(channels):
            if free[c]:
                value = demand[c] if first else shared[c] - 0.999 * demand[c]
                if best < 0 or value > best_value:
                    best = c
                    best_value = value
        order[p] = best
        filled += 1
        free[best] = False
        for e in range(by_channel_ptr[best], by_channel_ptr[best + 1]):
            net = by_channel[e]
            if covered[net] != b:
                covered[net] = b
                for z in range(indptr[net], indptr[net + 1]):
                    shared[indices[z]] += weights[net]
    for c in range(channels):
        if free[c]:
            order[filled] = c
            filled += 1
    return order
