"""Curveball trades (Strona 2014): shuffle a bipartite graph, every degree kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from icd.solver._random_core import below


@njit(cache=True, nogil=True)
def trade_pins(indptr: Any, indices: Any, channels: int, trades: int, state: Any) -> None:
    """Let random pairs of nets exchange the channels that only one of them has; in place."""
    nets = len(indptr) - 1
    mark = np.zeros(channels, np.int8)
    loose = np.empty(channels, indices.dtype)
    for _ in range(trades):
        r = below(state, nets)
        s = below(state, nets)
        if r == s:
            continue
        for e in range(indptr[s], indptr[s + 1]):
            mark[indices[e]] = 1
        count = 0
        for e in range(indptr[r], indptr[r + 1]):
            if mark[indices[e]] == 1:
                mark[indices[e]] = 2
            else:
                loose[count] = indices[e]
                count += 1
        own = count
        for e in range(indptr[s], indptr[s + 1]):
            if mark[indices[e]] == 1:
                loose[count] = indices[e]
                count += 1
        for i in range(count - 1, 0, -1):
            j = below(state, i + 1)
            loose[i], loose[j] = loose[j], loose[i]
        taken = 0
        for e in range(indptr[r], indptr[r + 1]):
            if mark[indices[e]] != 2:
                indices[e] = loose[taken]
                taken += 1
        taken = own
        for e in range(indptr[s], indptr[s + 1]):
            if mark[indices[e]] == 2:
                mark[indices[e]] = 0
            else:
                mark[indices[e]] = 0
                indices[e] = loose[taken]
                taken += 1
