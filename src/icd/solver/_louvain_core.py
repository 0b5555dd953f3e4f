"""Local moving, refinement and aggregation for modularity (Blondel 2008; Traag 2019), on CSR arrays.

A graph is ``indptr, indices, data`` without self-loops, and ``strength`` (n,), which counts them: the
weight inside an aggregated vertex changes no comparison except through its strength.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from icd.solver._random_core import below


@njit(cache=True, nogil=True)
def local_moving(
    indptr: Any,
    indices: Any,
    data: Any,
    strength: Any,
    labels: Any,
    bounds: Any,
    gamma: float,
    order: Any,
    stop: Any = None,
) -> Any:
    """Move vertices to the neighbouring community that gains most until no move gains; in place.

    ``gamma``: resolution / 2m; ``order``: the queue's first order; ``bounds``: (n,) a vertex only joins
    vertices of its own bound (all equal: no constraint); ``stop``: (1,), ends early once it is not 0. Labels
    are below n. Returns the moves made.
    """
    n = len(labels)
    total = np.zeros(n)
    members = np.zeros(n, np.int64)
    for i in range(n):
        total[labels[i]] += strength[i]
        members[labels[i]] += 1
    empty = np.empty(n + 1, np.int64)
    empties = 0
    for c in range(n - 1, -1, -1):
        if members[c] == 0:
            empty[empties] = c
            empties += 1
    queue = order.copy()
    waiting = np.ones(n, np.bool_)
    head, length = 0, n
    links = np.zeros(n)
    touched = np.empty(n, np.int64)
    moves = 0
    while length > 0:
        if stop is not None:  # noqa: SIM102 - compiled without an alarm where none is given
            if stop[0] != 0:
                break
        i = queue[head]
        head = (head + 1) % n
        length -= 1
        waiting[i] = False
        own = labels[i]
        count = 0
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if bounds[j] != bounds[i]:
                continue
            c = labels[j]
            if links[c] == 0.0:
                touched[count] = c
                count += 1
            links[c] += data[e]
        total[own] -= strength[i]
        best = own
        best_value = links[own] - gamma * strength[i] * total[own]
        for t in range(count):
            c = touched[t]
            value = links[c] - gamma * strength[i] * total[c]
            if value > best_value + 1e-12:
                best = c
                best_value = value
        if best_value < -1e-12 and members[own] > 1 and empties > 0:
            best = empty[empties - 1]
        for t in range(count):
            links[touched[t]] = 0.0
        total[best] += strength[i]
        if best == own:
            continue
        moves += 1
        members[own] -= 1
        if members[best] == 0:
            empties -= 1
        members[best] += 1
        if members[own] == 0:
            empty[empties] = own
            empties += 1
        labels[i] = best
        for e in range(indptr[i], indptr[i + 1]):
            j = indices[e]
            if labels[j] != best and not waiting[j]:
                waiting[j] = True
                queue[(head + length) % n] = j
                length += 1
    return moves


@njit(cache=True, nogil=True)
def compress(labels: Any) -> Any:
    """Renumber labels 0, 1, ... in order of appearance, in place; returns how many there are.

    Labels must be below their number.
    """
    name = np.full(len(labels), -1, np.int64)
    count = 0
    for i in range(len(labels)):
        if name[labels[i]] < 0:
            name[labels[i]] = count
            count += 1
        labels[i] = name[labels[i]]
    return count


@njit(cache=True, nogil=True)
def aggregate(indptr: Any, indices: Any, data: Any, strength: Any, labels: Any, count: int) -> Any:
    """The graph whose vertices are the communities ``0 ... count - 1``."""
    n = len(labels)
    size = np.zeros(count + 1, np.int64)
    for i in range(n):
        size[labels[i] + 1] += 1
    first = np.cumsum(size)
    fill = first.copy()
    member = np.empty(n, np.int64)
    total = np.zeros(count)
    for i in range(n):
        member[fill[labels[i]]] = i
        fill[labels[i]] += 1
        total[labels[i]] += strength[i]
    out_ptr = np.zeros(count + 1, np.int64)
    out_indices = np.empty(len(indices), np.int64)
    out_data = np.empty(len(indices))
    links = np.zeros(count)
    touched = np.empty(count, np.int64)
    at = 0
    for c in range(count):
        found = 0
        for m in range(first[c], first[c + 1]):
            i = member[m]
            for e in range(indptr[i], indptr[i + 1]):
                d = labels[indices[e]]
                if d == c:
                    continue
                if links[d] == 0.0:
                    touched[found] = d
                    found += 1
                links[d] += data[e]
        for t in range(found):
            out_indices[at] = touched[t]
            out_data[at] = links[touched[t]]
            links[touched[t]] = 0.0
            at += 1
        out_ptr[c + 1] = at
    return out_ptr, out_indices[:at].copy(), out_data[:at].copy(), total


@njit(cache=True, nogil=True)
def quality(indptr: Any, indices: Any, data: Any, strength: Any, labels: Any, resolution: float) -> Any:
    """Modularity of labels on the original graph, which has no self-loops."""
    n = len(labels)
    total = np.zeros(n)
    inside = 0.0
    mass = 0.0
    for i in range(n):
        total[labels[i]] += strength[i]
        mass += strength[i]
        for e in range(indptr[i], indptr[i + 1]):
            if labels[indices[e]] == labels[i]:
                inside += data[e]
    share = total / mass  # so that no square overflows or vanishes
    return inside / mass - resolution * np.sum(share * share)


@njit(cache=True, nogil=True)
def shuffled(n: int, state: Any) -> Any:
    """A random order of 0 ... n - 1."""
    order = np.arange(n)
    for i in range(n - 1, 0, -1):
        j = below(state, i + 1)
        order[i], order[j] = order[j], order[i]
    return order


@njit(cache=True, nogil=True)
def scatter(labels: Any, share: float, state: Any) -> Any:
    """A copy of labels with a random share of the vertices put where another random vertex is."""
    out = labels.copy()
    for _ in range(np.int64(share * len(labels))):
        out[below(state, len(labels))] = labels[below(state, len(labels))]
    return out
