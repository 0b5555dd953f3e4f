"""The referee: what a layout costs. Solvers are judged here and never judge themselves.

    D     size of the site, in channels          g     line, channels per 128-byte line
    pi    layout, pi[new_position] = old_index   pos   its inverse
    W     co-access graph, (D, D) CSR            k     W's row sums; 2m = sum of k
    w     block, channels per tile column        nets  (weight, tile row) -> channels it needs

    C(pi)    = sum_{i<j} W_ij phi(|pos_i // g - pos_j // g|)
    phi(d)   = d up to lam, then lam + tau (d - lam)
    Q(pi)    = 1/2m sum_ij (W_ij - resolution k_i k_j / 2m) [i, j in the same block], all pairs
    R_align  = share of co-access weight that crosses a line boundary
    R_stab   = share of channels that moved by more than one block from the previous layout
    T(pi)    = sum over nets of weight x number of blocks touched: bytes of non-empty tiles
    J        = alpha C~ + beta R_align + gamma_s R_stab - mu Q,   C~ = C / (phi_max sum_{i<j} W_ij)

docs/COST_SPEC.md derives each term and says what it predicts. Q is Newman (2006); T is the
connectivity metric of hypergraph partitioning with hard equal blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import IntArray, Nets, inverse
from icd.scaling import exponent, scaled

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

EPSILON = 1e-9


@dataclass(frozen=True)
class Objective:
    """Weights of J's terms and the shape of phi; the defaults are the published ones."""

    alpha: float = 1.0
    beta: float = 0.2
    gamma_s: float = 0.1
    mu: float = 0.5
    lam: float = 3.0
    tau: float = 0.25
    resolution: float = 1.0


def phi(distance: float, lam: float, tau: float) -> float:
    """Cost of a distance in lines: linear up to ``lam``, flatter by ``tau`` beyond."""
    return distance if distance <= lam else lam + tau * (distance - lam)


def phi_max(size: int, line: int, objective: Objective) -> float:
    """phi at the largest line distance that a site of ``size`` channels allows."""
    return phi((size - 1) // line, objective.lam, objective.tau)


def cost_c(W: csr_matrix, pi: IntArray, *, line: int, objective: Objective) -> float:
    """Raw cache-distance cost C, in units of W x lines; nothing is charged within a line."""
    e = exponent(W.data)
    return float(np.ldexp(_pair_sums(W, pi, 1, line, objective, e)[0], e))


def modularity(W: csr_matrix, pi: IntArray, *, block: int, resolution: float = 1.0) -> float:
    """Newman modularity of the tile blocks, the null term over all pairs; 0 for an empty graph."""
    from icd.solver._objective_core import sum_of_squares_by_block

    e = exponent(W.data)
    scaled_W = _scaled(W, e)
    total = float(scaled_W.sum())
    if total == 0.0:
        return 0.0
    same = _pair_sums(W, pi, block, 1, Objective(), e)[2]
    strength = np.asarray(scaled_W.sum(axis=1), np.float64).ravel()
    null = sum_of_squares_by_block(strength, positions(pi, W.shape[0]), block)
    return float(2.0 * same / total - resolution * null / total**2)


def r_align(W: csr_matrix, pi: IntArray, *, line: int) -> float:
    """Share of co-access weight between channels of different lines, in [0, 1]."""
    e = exponent(W.data)
    crossing = _pair_sums(W, pi, 1, line, Objective(), e)[1]
    total = float(_scaled(W, e).sum()) / 2.0
    return crossing / total if total else 0.0


def r_stab(pi: IntArray, previous: IntArray | None, *, horizon: int) -> float:
    """Share of channels moved by more than ``horizon`` positions from ``previous``; 0 without one."""
    if previous is None:
        return 0.0
    moved = np.abs(inverse(pi).astype(np.int64) - inverse(previous))
    return float(np.mean(moved > horizon))


def tiles(nets: Nets | None, pi: IntArray, *, block: int) -> float | None:
    """T: weight of the non-empty tiles, in the unit of the nets' weights; None without nets."""
    if nets is None:
        return None
    from icd.solver._objective_core import connectivity

    matrix = nets.matrix
    pos = positions(pi, matrix.shape[1])
    return float(connectivity(matrix.indptr, matrix.indices, np.asarray(nets.weights, float), pos, block))


def evaluate(
    W: csr_matrix,
    nets: Nets | None,
    pi: IntArray,
    *,
    block: int,
    line: int,
    previous: IntArray | None = None,
    objective: Objective | None = None,
) -> dict[str, Any]:
    """Every term for one layout: ``T, C, Q, R_align, R_stab, J``, and ``C_raw`` and ``W_sum``.

    ``C`` is normalised to [0, 1]; ``C_raw`` is not. ``W_sum`` is W summed over i < j, the weight
    with which sites are combined. ``T`` is None without nets.
    """
    objective = objective or Objective()
    e = exponent(W.data)
    c_raw, crossing, _ = _pair_sums(W, pi, block, line, objective, e)
    w_sum = float(_scaled(W, e).sum()) / 2.0
    scale = phi_max(W.shape[0], line, objective) * w_sum
    c = c_raw / scale if scale else 0.0
    q = modularity(W, pi, block=block, resolution=objective.resolution)
    align = crossing / w_sum if w_sum else 0.0
    stab = r_stab(pi, previous, horizon=block)
    return {
        "T": tiles(nets, pi, block=block),
        "C": c,
        "Q": q,
        "R_align": align,
        "R_stab": stab,
        "J": objective.alpha * c + objective.beta * align + objective.gamma_s * stab - objective.mu * q,
        "C_raw": float(np.ldexp(c_raw, e)),
        "W_sum": float(np.ldexp(w_sum, e)),
    }


def better(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether score ``a`` beats score ``b``: by T, and by J where T is equal or absent."""
    t_a, t_b = a["T"] or 0.0, b["T"] or 0.0
    slack = EPSILON * max(1.0, abs(t_b))
    if abs(t_a - t_b) > slack:
        return bool(t_a < t_b)
    return bool(a["J"] < b["J"] - EPSILON)


def _pair_sums(
    W: csr_matrix, pi: IntArray, block: int, line: int, objective: Objective, e: int
) -> tuple[float, float, float]:
    """The sums of `pair_sums` over W / 2^e; ValueError for a layout of another size, which it cannot see."""
    from icd.solver._objective_core import pair_sums

    pos = positions(pi, W.shape[0])
    data = scaled(W.data, e)
    sums = pair_sums(W.indptr, W.indices, data, pos, block, line, float(objective.lam), float(objective.tau))
    return float(sums[0]), float(sums[1]), float(sums[2])


def _scaled(W: csr_matrix, e: int) -> csr_matrix:
    """W / 2^e, by which no square of a sum overflows or vanishes."""
    if not e:
        return W
    from scipy.sparse import csr_matrix

    return csr_matrix((scaled(W.data, e), W.indices, W.indptr), shape=W.shape)


def positions(pi: IntArray, size: int) -> IntArray:
    """The inverse of ``pi``; ValueError unless it is a permutation of ``size``: compiled code trusts it."""
    given = np.asarray(pi)
    if given.shape != (size,) or given.dtype.kind not in "iu" or not _inside(given, size):
        raise ValueError(f"layout: expected each of {size} channels, got shape {given.shape} or others")
    pos = inverse(given)
    if not np.array_equal(pos[given], np.arange(size)):
        raise ValueError(f"layout: expected each of {size} channels once, got some twice")
    return pos


def _inside(given: IntArray, size: int) -> bool:
    return not size or (int(given.min()) >= 0 and int(given.max()) < size)
