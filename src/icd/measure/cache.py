"""A set-associative cache of sectored lines with least-recently-used replacement, driven by a trace."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True)
def sectors_of(mask):  # type: ignore[no-untyped-def]
    """How many bits are set in ``mask``."""
    count = 0
    while mask:
        mask &= mask - 1
        count += 1
    return count


@njit(cache=True)
def replay(lines, masks, tags, valid, ages, clock):  # type: ignore[no-untyped-def]
    """Sectors hit and missed by accesses to ``lines``, in order; ``masks``: which sectors each touches.

    ``tags`` int64 (sets, ways), -1 where empty, ``valid`` int64 (sets, ways), the mask of the sectors that a
    line holds, and ``ages`` int64 (sets, ways) are the cache's state and are updated in place; ``clock``
    int64 (1,) counts accesses. A miss fetches the sectors that are touched, and the line that it displaces
    goes whole. The set is a hash of the line number, as in GPUs, so that power-of-two strides do not collide.
    """
    sets, ways = tags.shape
    hits = misses = 0
    for k in range(len(lines)):
        line, mask = lines[k], masks[k]
        mixed = np.uint64(line) * np.uint64(0x9E3779B97F4A7C15)
        s = np.int64((mixed >> np.uint64(20)) % np.uint64(sets))
        clock[0] += 1
        way = 0
        found = False
        for w in range(ways):
            if tags[s, w] == line:
                way = w
                found = True
                break
            if ages[s, w] < ages[s, way]:
                way = w
        if not found:
            tags[s, way] = line
            valid[s, way] = 0
        ages[s, way] = clock[0]
        there = sectors_of(mask & valid[s, way])
        hits += there
        misses += sectors_of(mask) - there
        valid[s, way] |= mask
    return hits, misses
