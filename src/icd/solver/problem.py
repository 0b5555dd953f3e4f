"""What a solver is asked: a checked graph, checked nets and the geometry of blocks and lines."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import BoolArray, IntArray, Nets, check_permutation
from icd.errors import ConfigError
from icd.solver.objective import Objective, evaluate

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

LEVELS = 4095
ASYMMETRY = 1e-6


@dataclass(frozen=True)
class Problem:
    """One site to lay out. ``block`` and ``line`` are in channels; ``previous`` may be absent."""

    W: csr_matrix
    nets: Nets | None
    block: int
    line: int
    previous: IntArray | None
    objective: Objective

    @property
    def size(self) -> int:
        """Channels of the site."""
        return int(self.W.shape[0])

    @property
    def identity(self) -> IntArray:
        """The order in which the channels came."""
        return np.arange(self.size, dtype=np.int32)

    @property
    def initial(self) -> IntArray:
        """The layout that an answer is compared with: the previous one, else identity."""
        return self.identity if self.previous is None else self.previous

    @cached_property
    def levels(self) -> csr_matrix:
        """W rounded to 12 bits of its maximum, as whole numbers in float64; what searches read."""
        rounded = self.W.copy()
        peak = rounded.data.max(initial=0.0)
        if peak > 0.0:
            rounded.data = np.floor(rounded.data / peak * LEVELS + 0.5 - 1e-6)
        rounded.eliminate_zeros()
        return rounded

    @cached_property
    def strength(self) -> NDArray[np.float64]:
        """Row sums of the rounded graph, (D,)."""
        return np.asarray(self.levels.sum(axis=1), np.float64).ravel()

    def evaluate(self, pi: IntArray) -> dict[str, Any]:
        """The referee's score of ``pi``."""
        return evaluate(
            self.W,
            self.nets,
            pi,
            block=self.block,
            line=self.line,
            previous=self.previous,
            objective=self.objective,
        )


def pose(
    W: Any,
    nets: csr_matrix | BoolArray | Nets | None,
    *,
    block: int,
    line: int,
    previous: IntArray | None,
    objective: Objective,
) -> Problem:
    """The checked problem.

    ``W``: (D, D) sparse or dense; ``nets``: (nets, D) sparse or dense truth values, or ``Nets`` with a
    weight per net. Raises ConfigError naming what was expected, what came and what to do.
    """
    graph = check_graph(W)
    size = graph.shape[0]
    for name, value in (("block", block), ("line", line)):
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name}: expected a positive number of channels, got {value!r}")
    if previous is not None:
        try:
            previous = check_permutation(previous, size, "previous layout")
        except ValueError as error:
            raise ConfigError(f"{error}; pass the layout of this site, or none") from error
    return Problem(graph, check_nets(nets, size), int(block), int(line), previous, objective)


def check_graph(W: Any) -> csr_matrix:
    """``W`` as sorted float64 CSR after checking that it is a co-access graph."""
    from scipy import sparse

    if not sparse.issparse(W) and not isinstance(W, np.ndarray):
        raise ConfigError(f"W: expected a CSR matrix of channels x channels, got {type(W).__name__}")
    if len(W.shape) != 2 or W.shape[0] != W.shape[1]:
        raise ConfigError(f"W: expected a square matrix of channels x channels, got shape {tuple(W.shape)}")
    if W.shape[0] == 0:
        raise ConfigError("W: expected at least one channel, got an empty matrix; drop the site")
    graph = _well_formed(W, "W", np.float64)
    graph.sum_duplicates()
    narrow_indices(graph)
    if not np.isfinite(graph.data).all():
        raise ConfigError("W: expected finite weights, got NaN or infinity; check the activations it is from")
    if graph.data.min(initial=0.0) < 0.0:
        raise ConfigError(
            f"W: expected non-negative weights, got {graph.data.min():g}; build it from absolute values"
        )
    with np.errstate(over="ignore"):
        if not np.isfinite(graph.data.sum()):
            raise ConfigError(
                "W: expected weights whose sum a float64 holds, got more than 1.8e308; scale them"
            )
    if np.any(graph.diagonal()):
        raise ConfigError("W: expected a zero diagonal, got self-loops; call W.setdiag(0) first")
    mirror = graph.T.tocsr()
    mirror.sort_indices()
    same_pattern = np.array_equal(graph.indptr, mirror.indptr) and np.array_equal(
        graph.indices, mirror.indices
    )
    gap = np.abs(graph.data - mirror.data) if same_pattern else np.abs((graph - mirror).data)
    if gap.max(initial=0.0) > ASYMMETRY * graph.data.max(initial=0.0):
        raise ConfigError(
            f"W: expected a symmetric matrix, got entries that differ by {gap.max():g}; pass (W + W.T) / 2"
        )
    return graph


def check_nets(nets: csr_matrix | BoolArray | Nets | None, size: int) -> Nets | None:
    """``nets`` as CSR of pins with one finite, non-negative weight each; None stays None."""
    if nets is None:
        return None
    from scipy import sparse

    given = nets.matrix if isinstance(nets, Nets) else nets
    if not sparse.issparse(given) and not isinstance(given, np.ndarray):
        raise ConfigError(
            f"nets: expected truth values of nets x channels (array, CSR or Nets), got {type(given).__name__}"
        )
    if len(given.shape) != 2 or given.shape[1] != size:
        raise ConfigError(f"nets: expected shape (nets, {size}) as W has, got {tuple(given.shape)}")
    matrix = _well_formed(given, "nets", np.bool_)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    narrow_indices(matrix)
    weights = np.asarray(nets.weights, np.float64) if isinstance(nets, Nets) else np.ones(matrix.shape[0])
    if weights.shape != (matrix.shape[0],):
        raise ConfigError(f"nets: expected {matrix.shape[0]} weights, one a net, got shape {weights.shape}")
    if not np.isfinite(weights).all() or weights.min(initial=0.0) < 0.0:
        raise ConfigError("nets: expected finite non-negative weights, got others; use bytes of a tile")
    return Nets(matrix, weights)


def _well_formed(given: Any, name: str, dtype: type) -> csr_matrix:
    """A copy as CSR of ``dtype``, in which duplicates are summed.

    ConfigError where numbers are complex, and where indices lead outside, which compiled code would follow.
    """
    from scipy import sparse

    if np.iscomplexobj(given):
        raise ConfigError(f"{name}: expected real numbers, got complex ones")
    try:
        if sparse.issparse(given) and given.format in ("csr", "csc", "bsr"):
            given.check_format(full_check=True)
        elif sparse.issparse(given) and given.format == "coo":
            sparse.coo_matrix((given.data, (given.row, given.col)), shape=given.shape)
        return sparse.csr_matrix(given.astype(dtype), copy=True)
    except (ValueError, TypeError, IndexError) as error:
        raise ConfigError(
            f"{name}: not a matrix ({error}); pass numbers at places inside its shape"
        ) from error


def narrow_indices(matrix: csr_matrix) -> None:
    """int32 indices in place, the type that the kernels are compiled for."""
    if matrix.nnz > np.iinfo(np.int32).max:
        raise ConfigError(f"matrix: expected fewer than 2**31 entries, got {matrix.nnz}; thin it out")
    matrix.indptr = matrix.indptr.astype(np.int32)
    matrix.indices = matrix.indices.astype(np.int32)
