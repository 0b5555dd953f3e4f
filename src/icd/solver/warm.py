"""Compiles the numba kernels on a few channels, so that no budget pays for the compiler."""

from __future__ import annotations

from functools import cache

import numpy as np

from icd.contracts import Nets
from icd.solver.objective import evaluate


@cache
def warm_referee() -> None:
    """Compile (or load from numba's cache) the kernels of icd.solver.objective."""
    from scipy import sparse

    W = sparse.csr_matrix(np.ones((4, 4)) - np.eye(4))
    nets = Nets(sparse.csr_matrix(np.ones((2, 4), bool)), np.ones(2))
    evaluate(W, nets, np.arange(4, dtype=np.int32), block=2, line=1)


@cache
def warm_search() -> None:
    """Compile (or load) every kernel of the searches by searching two small sites."""
    from scipy import sparse

    from icd.solver.book import Book, Clock
    from icd.solver.objective import Objective
    from icd.solver.problem import pose
    from icd.solver.tile import Tile

    warm_referee()
    rng = np.random.default_rng(0)
    raw = rng.random((24, 24))
    W = sparse.csr_matrix(raw + raw.T - 2 * np.diag(raw.diagonal()))
    pins = sparse.csr_matrix(rng.random((40, 24)) < 0.3)
    previous = np.arange(24, dtype=np.int32)[::-1].copy()
    for weights in (np.ones(40), rng.integers(1, 3, 40).astype(float)):
        problem = pose(W, Nets(pins, weights), block=4, line=2, previous=previous, objective=Objective())
        Tile(max_proposals=2000).search(Book(problem, Clock(float("inf"))))
