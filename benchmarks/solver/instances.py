"""The benchmark's instances, all from ``default_rng(0)`` in the order written here.

A net instance is a bool mask (nets, channels), a block size, and W: for each channel the 64 channels it
shares most of 1024 sampled nets with, made symmetric. ``modularity-hard`` is a graph alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

GRAPH_SAMPLE, GRAPH_DEGREE = 1024, 64


@dataclass(frozen=True)
class Instance:
    name: str
    W: sparse.csr_matrix
    pins: sparse.csr_matrix | None
    block: int


def random_mask(nets: int, channels: int, density: float) -> np.ndarray:
    return np.random.default_rng(0).random((nets, channels)) < density


def planted_mask(nets: int, channels: int, block: int) -> np.ndarray:
    """Each net picks each block with probability 0.2; live 0.5 inside picked blocks, 0.01 outside."""
    rng = np.random.default_rng(0)
    picked = rng.random((nets, channels // block)) < 0.2
    mask = rng.random((nets, channels)) < np.where(np.repeat(picked, block, axis=1), 0.5, 0.01)
    return mask[:, rng.permutation(channels)]


def lognorm_mask(nets: int, channels: int, density: float) -> np.ndarray:
    """Heterogeneous scales: normal weights times exp(N/2) a row and exp(N/2) a column, largest kept."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((nets, channels))
    weights *= np.exp(0.5 * rng.standard_normal((nets, 1)))
    weights *= np.exp(0.5 * rng.standard_normal((1, channels)))
    np.abs(weights, out=weights)
    return weights > np.quantile(weights, 1.0 - density)


def topic_mask(nets: int, channels: int, density: float, topics: int) -> np.ndarray:
    """Latent co-activation: cubed normal factors of nets and channels, noise, the largest of a row kept."""
    rng = np.random.default_rng(0)
    U = rng.standard_normal((nets, topics)) ** 3
    V = rng.standard_normal((channels, topics)) ** 3
    scores = U @ V.T
    scores /= scores.std()
    scores += 0.3 * rng.standard_normal((nets, channels))
    kept = int(density * channels)
    threshold = np.partition(scores, channels - kept, axis=1)[:, channels - kept : channels - kept + 1]
    return scores >= threshold


def hard_graph(size: int = 2560, groups: int = 40, inside: float = 0.25, degree: float = 123.0):
    """Planted partition near the detection limit: ``inside`` within groups, ``degree`` links a vertex."""
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(groups), size // groups)
    own = size // groups - 1
    outside = (degree - own * inside) / (size - own - 1)
    chance = np.where(label[:, None] == label[None, :], inside, outside)
    upper = np.triu(rng.random((size, size)) < chance, 1)
    order = rng.permutation(size)
    return sparse.csr_matrix((upper | upper.T)[order][:, order].astype(float))


def shared_nets_graph(mask: np.ndarray) -> sparse.csr_matrix:
    """W of a mask (nets, channels)."""
    nets, channels = mask.shape
    rows = np.sort(np.random.default_rng(1).choice(nets, min(GRAPH_SAMPLE, nets), replace=False))
    sample = mask[rows].astype(np.float32)
    parts = []
    for start in range(0, channels, 1024):
        common = sample[:, start : start + 1024].T @ sample
        width = len(common)
        common[np.arange(width), np.arange(start, start + width)] = 0.0
        best = np.argpartition(-common, GRAPH_DEGREE, axis=1)[:, :GRAPH_DEGREE]
        values = np.take_along_axis(common, best, axis=1)
        row = np.repeat(np.arange(width), GRAPH_DEGREE)
        parts.append(sparse.csr_matrix((values.ravel(), (row, best.ravel())), shape=(width, channels)))
    half = sparse.vstack(parts).tocsr().astype(np.float64)
    half.eliminate_zeros()
    return half.maximum(half.T).tocsr()


MASKS: dict[str, tuple[Callable[[], np.ndarray], int]] = {
    "topic-2560": (lambda: topic_mask(5120, 2560, 0.115, 32), 32),
    "lognorm-2560": (lambda: lognorm_mask(5120, 2560, 0.115), 32),
    "planted-2560": (lambda: planted_mask(5120, 2560, 32), 32),
    "random-2560": (lambda: random_mask(5120, 2560, 0.115), 32),
    "topic-16384": (lambda: topic_mask(4096, 16384, 0.1, 64), 64),
    "lognorm-16384": (lambda: lognorm_mask(4096, 16384, 0.1), 64),
}
NAMES = (*MASKS, "modularity-hard")


def make(name: str) -> Instance:
    if name == "modularity-hard":
        return Instance(name, hard_graph(), None, 64)
    mask_of, block = MASKS[name]
    mask = mask_of()
    return Instance(name, shared_nets_graph(mask), sparse.csr_matrix(mask), block)
