"""Communities of a weighted graph by modularity: multilevel moving with refinement, then kicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from icd.scaling import exponent, scaled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

KICK = 0.15
LEVEL_BITS = 12


def find_communities(
    W: csr_matrix,
    *,
    resolution: float = 1.0,
    seed: int = 0,
    kicks: int = 20,
    expired: Callable[[], bool] = lambda: False,
    stop: NDArray[np.uint8] | None = None,
) -> tuple[NDArray[np.int64], float]:
    """Labels (D,) numbered from 0, and their modularity.

    ``W``: symmetric, non-negative CSR with a zero diagonal. Multilevel passes with Leiden's refinement
    (Traag, Waltman, van Eck 2019) repeat until they gain nothing; then ``kicks`` times a share of the
    vertices is scattered and the passes repeat, and the better partition is kept. ``expired`` is asked
    between passes; ``stop`` (1,), once not 0, ends a pass.
    """
    from icd.solver._louvain_core import compress, quality, scatter
    from icd.solver._random_core import seeded

    graph = _arrays(W)
    labels = np.arange(W.shape[0])
    if graph[3].sum() == 0.0:
        return labels, 0.0
    state = seeded(seed)
    labels, best = _climb(graph, labels, resolution, state, expired, stop)
    for _ in range(kicks):
        if expired():
            break
        trial, value = _climb(graph, scatter(labels, KICK, state), resolution, state, expired, stop)
        if value > best:
            labels, best = trial, value
    compress(labels)
    return labels, float(quality(*graph, labels, resolution))


Arrays = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.float64]", "NDArray[np.float64]"]


def _arrays(W: csr_matrix) -> Arrays:
    """The graph, its weights near those of `Problem.levels`, for which the kernels' tolerances are made."""
    data = scaled(W.data.astype(np.float64), exponent(W.data, 0) - LEVEL_BITS)
    indptr, indices = W.indptr.astype(np.int64), W.indices.astype(np.int64)
    strength = np.bincount(np.repeat(np.arange(W.shape[0]), np.diff(indptr)), data, W.shape[0])
    return indptr, indices, data, np.asarray(strength, np.float64)


def _climb(
    graph: Arrays,
    labels: NDArray[np.int64],
    resolution: float,
    state: NDArray[np.uint64],
    expired: Callable[[], bool],
    stop: NDArray[np.uint8] | None,
) -> tuple[NDArray[np.int64], float]:
    """Passes until they gain nothing."""
    from icd.solver._louvain_core import quality

    value = -np.inf
    while True:
        trial = _one_pass(graph, labels.copy(), resolution, state, stop)
        reached = quality(*graph, trial, resolution)
        if reached <= value + 1e-9:
            return labels, value
        labels, value = trial, reached
        if expired():
            return labels, value


def _one_pass(
    graph: Arrays,
    labels: NDArray[np.int64],
    resolution: float,
    state: NDArray[np.uint64],
    stop: NDArray[np.uint8] | None,
) -> NDArray[np.int64]:
    """Move, refine inside communities, aggregate the refinement, and again on the smaller graph."""
    from icd.solver._louvain_core import aggregate, compress, local_moving, shuffled

    gamma = resolution / graph[3].sum()
    vertex = np.arange(len(labels))
    while True:
        size = len(labels)
        free = np.zeros(size, np.int64)
        local_moving(*graph, labels, free, gamma, shuffled(size, state), stop)
        refined = np.arange(size)
        local_moving(*graph, refined, labels, gamma, shuffled(size, state), stop)
        compress(labels)
        count = compress(refined)
        if count == size:
            return labels[vertex]
        coarse = np.empty(count, np.int64)
        coarse[refined] = labels
        graph = aggregate(*graph, refined, count)
        vertex = refined[vertex]
        labels = coarse
