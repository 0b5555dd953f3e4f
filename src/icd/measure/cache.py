"""A set-associative cache with least-recently-used replacement, driven by a trace of line numbers."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def replay(lines, tags, ages, clock):  # type: ignore[no-untyped-def]
    """Hits and misses of ``lines`` (int64 line numbers, in order).

    ``tags`` int64 (sets, ways), -1 where empty, and ``ages`` int64 (sets, ways) are the cache's state and
    are updated in place; ``clock`` int64 (1,) counts accesses. The set is a hash of the line number, as
    in GPUs, so that power-of-two strides do not collide.
    """
    sets, ways = tags.shape
    hits = 0
    for line in lines:
        mixed = np.uint64(line) * np.uint64(0x9E3779B97F4A7C15)
        s = np.int64((mixed >> np.uint64(20)) % np.uint64(sets))
        clock[0] += 1
        oldest = 0
        found = False
        for w in range(ways):
            if tags[s, w] == line:
                ages[s, w] = clock[0]
                hits += 1
                found = True
                break
            if ages[s, w] < ages[s, oldest]:
                oldest = w
        if not found:
            tags[s, oldest] = line
            ages[s, oldest] = clock[0]
    return hits, len(lines) - hits
