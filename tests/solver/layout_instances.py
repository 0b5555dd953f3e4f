"""Small graphs and nets with a known best layout."""

from __future__ import annotations

import numpy as np
from scipy import sparse


def random_graph(size, density=0.4, seed=0):
    rng = np.random.default_rng(seed)
    upper = np.triu(rng.random((size, size)) * (rng.random((size, size)) < density), 1)
    return sparse.csr_matrix(upper + upper.T)


def planted_graph(size, group, inside=0.5, outside=0.02, seed=0):
    """Groups of ``group`` channels, shuffled; returns W and the group of each channel."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.repeat(np.arange(size // group), group))
    chance = np.where(label[:, None] == label[None, :], inside, outside)
    upper = np.triu((rng.random((size, size)) < chance) * rng.random((size, size)), 1)
    return sparse.csr_matrix(upper + upper.T), label


def planted_nets(nets, size, block, seed=0):
    """Nets that pick whole blocks of channels with few strays, columns shuffled."""
    rng = np.random.default_rng(seed)
    picked = rng.random((nets, size // block)) < 0.2
    pins = rng.random((nets, size)) < np.where(np.repeat(picked, block, axis=1), 0.5, 0.01)
    return pins[:, rng.permutation(size)]
