"""Cells: runs of positions that share a line and a block, and what a pair of cells costs.

Where a channel sits inside its cell changes neither C, R_align nor Q, so a search over J moves
channels between cells only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icd.solver.objective import phi_max
from icd.solver.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_TABLE = 40_000_000
MAX_WEIGHTS = 1 << 27  # entries of the table of a channel's weight to a cell: 1 GiB
ROWS = 1 << 20  # entries of the cost that are computed at once
PRECISION = 2.0**20


@dataclass(frozen=True)
class Cells:
    """``start``: (cells + 1,) first positions; ``of``: (D,) cell of each position; ``line``, ``block``:
    (cells,); ``cost``: (cells, cells) whole numbers, what a unit of W between two cells adds to J in
    units of ``1 / scale``; (0, 0) where the tables of a search would be too large."""

    start: NDArray[np.int64]
    of: NDArray[np.int64]
    line: NDArray[np.int64]
    block: NDArray[np.int64]
    cost: NDArray[np.float64]
    scale: float

    @property
    def searched(self) -> bool:
        """Whether there is a cost, and so whether a search over cells is possible."""
        return self.cost.size > 0


def make_cells(problem: Problem) -> Cells:
    """Cells of a problem. Lines finer than blocks are ignored where the tables would be too large."""
    size, block, line = problem.size, problem.block, problem.line
    edges = np.arange(0, size, block)
    if size * (size // min(block, line) + 1) <= MAX_TABLE:
        edges = np.union1d(edges, np.arange(0, size, line))
    start = np.append(edges, size).astype(np.int64)
    of = np.repeat(np.arange(len(edges)), np.diff(start))
    lines, blocks = start[:-1] // line, start[:-1] // block
    if len(edges) ** 2 > MAX_TABLE or size * len(edges) > MAX_WEIGHTS:
        return Cells(start, of, lines, blocks, np.zeros((0, 0)), 1.0)
    cost = np.empty((len(edges), len(edges)))
    step = max(1, ROWS // len(edges))
    for first in range(0, len(edges), step):
        rows = slice(first, first + step)
        cost[rows] = _costs(problem, lines[rows], lines, blocks[rows], blocks)
    total = max(float(problem.strength.sum()) / 2.0, 1.0)
    peak = max(float(cost.max()), -float(cost.min()), 1e-12)
    cost /= peak
    cost *= PRECISION
    return Cells(start, of, lines, blocks, np.rint(cost, out=cost), PRECISION / peak * total)


def _costs(
    problem: Problem,
    line: NDArray[np.int64],
    lines: NDArray[np.int64],
    block: NDArray[np.int64],
    blocks: NDArray[np.int64],
) -> NDArray[np.float64]:
    """What a unit of W adds to J between cells on ``line`` in ``block`` (rows,) and all, (rows, cells)."""
    weights = problem.objective
    distance = np.abs(line[:, None] - lines[None, :]).astype(float)
    over = weights.lam + weights.tau * (distance - weights.lam)
    cost = weights.alpha * np.where(distance <= weights.lam, distance, over)
    cost /= max(phi_max(problem.size, problem.line, weights), 1.0)
    cost += weights.beta * (distance > 0) - weights.mu * (block[:, None] == blocks[None, :])
    return np.asarray(cost, np.float64)
