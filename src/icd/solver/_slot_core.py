"""The order of whole blocks by swaps and insertions; arrays in, slots changed in place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def order_blocks(between: Any, apart: Any, alone: Any, slot: Any, sweeps: int, stop: Any = None) -> Any:
    """Improve the slots of whole blocks by swaps and insertions until neither helps; in place.

    ``between``: (K, K) weight of W between blocks; ``apart``: (K, K) cost of two slots; ``alone``:
    (K, K) cost of a block in a slot; ``slot``: (K,) slot of each block; ``stop``: (1,), ends early once it
    is not 0. Returns the saving.
    """
    blocks = len(slot)
    holder = np.empty(blocks, np.int64)
    for u in range(blocks):
        holder[slot[u]] = u
    saved = 0.0
    for _ in range(sweeps):
        found = 0.0
        for s in range(blocks):
            if stop is not None:  # noqa: SIM102 - compiled without an alarm where none is given
                if stop[0] != 0:
                    break
            for t in range(s + 1, blocks):
                delta = swap_blocks(between, apart, alone, slot, holder[s], holder[t])
                if delta < -1e-9:
                    exchange(slot, holder, s, t)
                    found -= delta
        for s in range(blocks):
            if stop is not None:  # noqa: SIM102 - compiled without an alarm where none is given
                if stop[0] != 0:
                    break
            for step in (1, -1):
                best, best_at, total, t = -1e-9, s, 0.0, s
                while 0 <= t + step < blocks:
                    total += swap_blocks(between, apart, alone, slot, holder[t], holder[t + step])
                    exchange(slot, holder, t, t + step)
                    t += step
                    if total < best:
                        best, best_at = total, t
                while t != best_at:
                    exchange(slot, holder, t, t - step)
                    t -= step
                if best_at != s:
                    found -= best
        saved += found
        if found <= 1e-9:
            break
    return saved


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"})
def swap_blocks(between: Any, apart: Any, alone: Any, slot: Any, u: int, v: int) -> Any:
    """Change of cost when blocks u and v change places."""
    s, t = slot[u], slot[v]
    delta = alone[u, t] + alone[v, s] - alone[u, s] - alone[v, t]
    for x in range(len(slot)):
        if x != u and x != v:
            delta += (between[u, x] - between[v, x]) * (apart[t, slot[x]] - apart[s, slot[x]])
    return delta


@njit(cache=True, nogil=True, inline="always")
def exchange(slot: Any, holder: Any, s: int, t: int) -> None:
    """Let the blocks in slots s and t change places."""
    u, v = holder[s], holder[t]
    holder[s], holder[t] = v, u
    slot[u], slot[v] = t, s
