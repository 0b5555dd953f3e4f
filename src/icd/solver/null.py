"""Is a gain due to structure? The same solver on nets with the same degrees and no structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from icd.contracts import BoolArray, Nets
from icd.errors import ConfigError
from icd.solver.base import LayoutSolver
from icd.solver.problem import check_nets

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TRADES_PER_NET = 10
THRESHOLD_POINTS = 0.5


@dataclass(frozen=True)
class NullGain:
    """Tiles saved on identity in percent: ``gain`` on the nets, ``null_gain`` on their reshuffle."""

    gain: float
    null_gain: float

    @property
    def excess(self) -> float:
        """Percentage points that degrees alone do not explain."""
        return self.gain - self.null_gain

    @property
    def structured(self) -> bool:
        """Whether the nets hold more than their degrees, by more than half a point."""
        return self.excess > THRESHOLD_POINTS


def null_gain(
    solver: LayoutSolver,
    W: csr_matrix,
    nets: csr_matrix | BoolArray | Nets,
    *,
    block: int,
    line: int,
    seed: int = 0,
) -> NullGain:
    """Solve the nets and one degree-preserving reshuffle of them with the same solver and budget.

    A random mask gains what its reshuffle gains, whatever the search overfits. So does a mask of whole
    channels: degrees explain it, and sorting by them is the answer. One reshuffle's gain varies, by less
    than 0.1 points from some hundreds of thousands of pins on, by up to a point on a few thousand.
    """
    given = check_nets(nets, W.shape[0])
    if given is None or given.matrix.nnz == 0:
        raise ConfigError("nets: expected at least one net with a channel, got none; T is not defined")
    gains = []
    for case in (given, reshuffle(given, seed)):
        stats = solver.solve(W, case, block=block, line=line).stats
        gains.append(100.0 * (1.0 - stats["after"]["T"] / stats["before"]["T"]))
    return NullGain(*gains)


def reshuffle(nets: Nets, seed: int = 0) -> Nets:
    """Nets with the same size and weight each, every channel needed as often, otherwise random."""
    from icd.solver._null_core import trade_pins
    from icd.solver._random_core import seeded

    matrix = nets.matrix.copy()
    rows, channels = matrix.shape
    trade_pins(matrix.indptr, matrix.indices, channels, TRADES_PER_NET * rows, seeded(seed))
    matrix.has_sorted_indices = False
    matrix.sort_indices()
    return Nets(matrix, nets.weights.copy())
