"""Annealing of J over cells; whole-number tables in float64, so that sums are exact in any order and an
answer does not depend on the width of the machine's vectors.

    order, pos  channel at each position, and its inverse
    S           (D, cells): weight of W between a channel and the channels of a cell
    cost        (cells, cells): what a unit of W costs between two cells
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from icd.solver._random_core import below, uniform


@njit(cache=True, nogil=True)
def weight_to_cells(indptr: Any, indices: Any, data: Any, pos: Any, cell_of: Any, cells: int) -> Any:
    """``S`` for a layout."""
    S = np.zeros((len(pos), cells))
    for i in range(len(pos)):
        for e in range(indptr[i], indptr[i + 1]):
            S[i, cell_of[pos[indices[e]]]] += data[e]
    return S


@njit(cache=True, nogil=True)
def strongest_neighbours(indptr: Any, indices: Any, data: Any, k: int) -> Any:
    """The k heaviest neighbours of each channel in W, (D, k) int32; the channel itself where none."""
    size = len(indptr) - 1
    near = np.empty((size, k), np.int32)
    weight = np.zeros(k)
    for i in range(size):
        weight[:] = 0.0
        near[i, :] = i
        for e in range(indptr[i], indptr[i + 1]):
            if data[e] > weight[k - 1]:
                at = k - 1
                while at > 0 and weight[at - 1] < data[e]:
                    weight[at] = weight[at - 1]
                    near[i, at] = near[i, at - 1]
                    at -= 1
                weight[at] = data[e]
                near[i, at] = indices[e]
    return near


@njit(cache=True, nogil=True)
def link(indptr: Any, indices: Any, data: Any, i: int, j: int) -> Any:
    """W_ij by bisection of a sorted row."""
    low, high = indptr[i], indptr[i + 1]
    while low < high:
        middle = (low + high) // 2
        if indices[middle] < j:
            low = middle + 1
        else:
            high = middle
    if low < indptr[i + 1] and indices[low] == j:
        return data[low]
    return 0.0


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def pull(S: Any, cost: Any, i: int, a: int, j: int, b: int) -> Any:
    """Cost of putting i into b and j into a, less what they cost now; i and j taken as not linked."""
    total = 0.0
    for cell in range(cost.shape[0]):
        total += (cost[b, cell] - cost[a, cell]) * (S[i, cell] - S[j, cell])
    return total


@njit(cache=True, nogil=True, inline="always")
def moved(p: Any, before: Any, horizon: int) -> Any:
    """1.0 when a position is further than the horizon from the previous one."""
    return 1.0 if abs(p - before) > horizon else 0.0


@njit(cache=True, nogil=True)
def anneal_cells(
    S: Any,
    cost: Any,
    indptr: Any,
    indices: Any,
    data: Any,
    strength: Any,
    load: Any,
    cell_of: Any,
    cell_start: Any,
    cell_block: Any,
    order: Any,
    pos: Any,
    pool: Any,
    classes: Any,
    near: Any,
    before: Any,
    horizon: int,
    null_price: float,
    move_price: float,
    inside: float,
    temperature: float,
    cooling: float,
    proposals: int,
    state: Any,
) -> Any:
    """Swap channels between cells where that keeps T; returns the change of J in units of the cost.

    ``pool``: channels that may be proposed; ``classes``: two channels may swap between blocks when of
    one class, inside a block always; ``load``: (K,) strength held by each block, kept up to date;
    ``null_price``: price of a unit of squared load; ``move_price``: price of a channel beyond
    ``horizon`` of ``before``; ``inside``: share of proposals inside the channel's own block.
    """
    cells = cost.shape[0]
    changed = 0.0
    for _ in range(proposals):
        temperature *= cooling
        i = pool[below(state, len(pool))]
        p = pos[i]
        a = cell_of[p]
        draw = uniform(state)
        if draw < inside:
            first = a
            while first > 0 and cell_block[first - 1] == cell_block[a]:
                first -= 1
            last = a
            while last + 1 < cells and cell_block[last + 1] == cell_block[a]:
                last += 1
            q = cell_start[first] + below(state, cell_start[last + 1] - cell_start[first])
        elif draw < inside + (1.0 - inside) * 0.8:
            c = cell_of[pos[near[i, below(state, near.shape[1])]]]
            if uniform(state) < 0.3:
                c = min(cells - 1, max(0, c + 2 * below(state, 2) - 1))
            q = cell_start[c] + below(state, cell_start[c + 1] - cell_start[c])
        else:
            q = pos[pool[below(state, len(pool))]]
        j = order[q]
        b = cell_of[q]
        if a == b or (classes[i] != classes[j] and cell_block[a] != cell_block[b]):
            continue
        delta = pull(S, cost, i, a, j, b)
        block_a, block_b = cell_block[a], cell_block[b]
        shift = strength[j] - strength[i]
        delta += null_price * 2.0 * shift * (load[block_a] - load[block_b] + shift) * (block_a != block_b)
        delta += move_price * (
            moved(q, before[i], horizon)
            + moved(p, before[j], horizon)
            - moved(p, before[i], horizon)
            - moved(q, before[j], horizon)
        )
        limit = 0.0 if temperature <= 0.0 else -temperature * np.log(max(uniform(state), 1e-300))
        if delta > limit:
            continue
        joint = link(indptr, indices, data, i, j)
        if joint > 0.0:
            delta += joint * (2.0 * cost[a, b] - cost[a, a] - cost[b, b])
            if delta > limit:
                continue
        for e in range(indptr[i], indptr[i + 1]):
            S[indices[e], a] -= data[e]
            S[indices[e], b] += data[e]
        for e in range(indptr[j], indptr[j + 1]):
            S[indices[e], b] -= data[e]
            S[indices[e], a] += data[e]
        load[block_a] += shift
        load[block_b] -= shift
        order[p] = j
        order[q] = i
        pos[i] = q
        pos[j] = p
        changed += delta
    return changed


@njit(cache=True, nogil=True)
def sample_pulls(S: Any, cost: Any, cell_of: Any, pos: Any, pool: Any, count: int, state: Any) -> Any:
    """Mean size of what a random swap changes: the scale of temperatures."""
    total = 0.0
    for _ in range(count):
        i = pool[below(state, len(pool))]
        j = pool[below(state, len(pool))]
        total += abs(pull(S, cost, i, cell_of[pos[i]], j, cell_of[pos[j]]))
    return total / count
