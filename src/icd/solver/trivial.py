"""Layouts that cost next to nothing: what any search has to beat, and where searches start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import IntArray
from icd.solver.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

LANCZOS_STEPS = 80


def trivial_layouts(
    problem: Problem, expired: Callable[[], bool] = lambda: False
) -> Iterator[tuple[str, Callable[[], IntArray]]]:
    """Names and makers of the trivial candidates, the layout that is there first."""
    yield "identity", lambda: problem.identity
    if problem.previous is not None:
        yield "previous", lambda: problem.initial
    yield "degree", lambda: degree_order(problem)
    yield "spectral", lambda: spectral_order(problem, expired)


def degree_order(problem: Problem) -> IntArray:
    """Channels by weight of the nets that need them, then by strength in W; largest first, stable."""
    demand = np.zeros(problem.size)
    if problem.nets is not None:
        demand = np.asarray(problem.nets.matrix.astype(bool).T @ problem.nets.weights, np.float64)
    return np.lexsort((-problem.strength, -demand)).astype(np.int32)


def spectral_order(problem: Problem, expired: Callable[[], bool] = lambda: False) -> IntArray:
    """Channels by the Fiedler vector of the normalised Laplacian; unconnected channels go last."""
    return fiedler_order(problem.levels, expired)


def fiedler_order(W: csr_matrix, expired: Callable[[], bool] = lambda: False) -> IntArray:
    """Vertices of a symmetric graph by ``fiedler``, isolated ones last, int32 (vertices,)."""
    strength = np.asarray(W.sum(axis=1)).ravel()
    linked = np.flatnonzero(strength > 0)
    rest = np.flatnonzero(strength <= 0)
    if len(linked) > 2:
        value = fiedler(W[linked][:, linked] if len(rest) else W, expired)
        linked = linked[np.argsort(value, kind="stable")]
    return np.concatenate([linked, rest]).astype(np.int32)


def fiedler(W: csr_matrix, expired: Callable[[], bool] = lambda: False) -> NDArray[np.float64]:
    """Second eigenvector of D^-1/2 W D^-1/2, scaled by D^-1/2, for a graph without isolated vertices.

    Lanczos with full reorthogonalisation, a fixed number of steps from a fixed start: it always ends,
    and always with the same answer unless ``expired``, asked between steps, cut it short.
    """
    size = W.shape[0]
    root = np.sqrt(np.asarray(W.sum(axis=1), np.float64).ravel())
    trivial = root / np.linalg.norm(root)
    steps = min(size - 1, LANCZOS_STEPS)
    basis = np.zeros((steps, size))
    diagonal, off = np.zeros(steps), np.zeros(steps)
    vector = np.random.default_rng(0).standard_normal(size)
    used = 0
    for step in range(steps):
        vector -= trivial * (trivial @ vector)
        vector -= basis[:step].T @ (basis[:step] @ vector)
        norm = np.linalg.norm(vector)
        if norm < 1e-10 or (step > 1 and expired()):
            break
        off[step] = norm
        basis[step] = vector / norm
        vector = (W @ (basis[step] / root)) / root
        diagonal[step] = basis[step] @ vector
        used = step + 1
    return _top_ritz_vector(basis[:used], diagonal[:used], off[1:used]) / root


def _top_ritz_vector(basis: Any, diagonal: Any, off: Any) -> NDArray[np.float64]:
    tridiagonal = np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1)
    _, vectors = np.linalg.eigh(tridiagonal)
    top = basis.T @ vectors[:, -1]
    return np.asarray(top * np.sign(top[np.argmax(np.abs(top))]))
