"""The order of whole blocks: C and stability depend on it, T and Q do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import IntArray, inverse
from icd.solver.book import Clock
from icd.solver.cells import Cells
from icd.solver.problem import Problem
from icd.solver.trivial import fiedler_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_BLOCKS = 2048
SWEEP_BUDGET = 1 << 30


def order_whole_blocks(problem: Problem, cells: Cells, pi: IntArray, clock: Clock | None = None) -> IntArray:
    """``pi`` with its whole blocks in the best order found; a padded last block stays where it is.

    Starts from the order at hand, the Fiedler order of the blocks and, with a previous layout, the
    assignment of blocks to places that they overlap most (Hungarian method); improved by swaps and
    insertions, as many sweeps as the number of blocks and the clock allow.
    """
    from icd.solver._slot_core import order_blocks

    whole = problem.size // problem.block
    clock = clock or Clock(float("inf"))
    if not 2 <= whole <= MAX_BLOCKS or not cells.searched or clock.expired():
        return pi
    between, last = _weight_between_blocks(problem, pi, whole)
    first_cell = cells.of[np.arange(whole) * problem.block]
    apart = cells.cost[np.ix_(first_cell, first_cell)].copy()
    np.fill_diagonal(apart, 0.0)
    alone = np.rint(_moving_cost(problem, cells, pi, whole))
    if problem.size % problem.block:
        alone += np.outer(last, cells.cost[first_cell, cells.of[-1]])
    sweeps = int(np.clip(SWEEP_BUDGET // whole**3, 0, 40))
    best, best_cost = np.arange(whole), np.inf
    for slot in _starting_slots(problem, pi, between):
        with clock.alarm() as stop:
            order_blocks(between, apart, alone, slot, sweeps, stop)
        placed = apart[np.ix_(slot, slot)]
        cost = float((between * placed).sum() / 2.0 + alone[np.arange(whole), slot].sum())
        if cost < best_cost:
            best, best_cost = slot, cost
    out = pi.copy()
    out[: whole * problem.block] = pi[: whole * problem.block].reshape(whole, -1)[np.argsort(best)].ravel()
    return out


def _weight_between_blocks(
    problem: Problem, pi: IntArray, whole: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """W summed between whole blocks, (K, K) with a zero diagonal, and between each and the padded one."""
    from scipy import sparse

    blocks = -(-problem.size // problem.block)
    of = inverse(pi) // problem.block
    member = sparse.csr_matrix(
        (np.ones(problem.size), (np.arange(problem.size), of)), shape=(problem.size, blocks)
    )
    total = np.asarray((member.T @ problem.levels @ member).todense(), np.float64)
    np.fill_diagonal(total, 0.0)
    return np.ascontiguousarray(total[:whole, :whole]), total[:whole, -1]


def _moving_cost(problem: Problem, cells: Cells, pi: IntArray, whole: int) -> NDArray[np.float64]:
    """What R_stab adds for each whole block in each slot, (K, K), in units of the cells' cost."""
    if problem.previous is None:
        return np.zeros((whole, whole))
    before = inverse(problem.previous)[pi[: whole * problem.block]].reshape(whole, problem.block)
    offset = np.arange(problem.block)
    cost = np.empty((whole, whole))
    for s in range(whole):
        cost[:, s] = (np.abs(s * problem.block + offset - before) > problem.block).sum(axis=1)
    return cost * (problem.objective.gamma_s / problem.size * cells.scale)


def _starting_slots(problem: Problem, pi: IntArray, between: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    whole = len(between)
    starts = [np.arange(whole)]
    if between.any():
        from scipy.sparse import csr_matrix

        starts.append(inverse(fiedler_order(csr_matrix(between))).astype(np.int64))
    if problem.previous is not None:
        from scipy.optimize import linear_sum_assignment

        old = inverse(problem.previous)[pi[: whole * problem.block]].reshape(whole, -1) // problem.block
        overlap = np.zeros((whole, whole + 1))
        np.add.at(overlap, (np.arange(whole)[:, None], old), 1.0)
        starts.append(linear_sum_assignment(-overlap[:, :whole])[1].astype(np.int64))
    return starts
