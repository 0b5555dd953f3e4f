"""Exact sums over a graph's pairs and a hypergraph's pins; arrays in, numbers out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def pair_sums(
    indptr: Any, indices: Any, data: Any, pos: Any, block: int, line: int, lam: float, tau: float
) -> Any:
    """(C, weight across lines, weight inside blocks), each over the pairs i < j of a symmetric CSR."""
    cost = 0.0
    crossing = 0.0
    same = 0.0
    for i in range(len(indptr) - 1):
        line_i = pos[i] // line
        block_i = pos[i] // block
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if j <= i:
                continue
            d = abs(line_i - pos[j] // line)
            if d > 0:
                crossing += data[e]
                cost += data[e] * (d if d <= lam else lam + tau * (d - lam))
            if pos[j] // block == block_i:
                same += data[e]
    return cost, crossing, same


@njit(cache=True, nogil=True)
def sum_of_squares_by_block(strength: Any, pos: Any, block: int) -> Any:
    """Sum over blocks of the squared strength that the block holds."""
    totals = np.zeros((len(pos) + block - 1) // block)
    for i in range(len(pos)):
        totals[pos[i] // block] += strength[i]
    return np.sum(totals * totals)


@njit(cache=True, nogil=True)
def connectivity(indptr: Any, indices: Any, weights: Any, pos: Any, block: int) -> Any:
    """Sum over nets of weight x number of distinct blocks among the net's channels."""
    seen = np.full((len(pos) + block - 1) // block, -1, np.int64)
    total = 0.0
    for net in range(len(indptr) - 1):
        touched = 0
        for e in range(indptr[net], indptr[net + 1]):
            b = pos[indices[e]] // block
            if seen[b] != net:
                seen[b] = net
                touched += 1
        total += weights[net] * touched
    return total
