"""Layout solvers: a co-access graph and nets in, a layout out; numpy, scipy and numba only."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from icd.contracts import BoolArray, IntArray, Layout, Nets
from icd.errors import ConfigError
from icd.solver.objective import Objective, evaluate

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

METHODS = ("identity", "shuffle", "degree", "spectral", "louvain", "tile")


def fit(
    W: csr_matrix,
    nets: csr_matrix | BoolArray | Nets | None = None,
    *,
    block: int = 32,
    line: int | None = None,
    method: str = "tile",
    time_budget_s: float = 300.0,
    max_proposals: int | None = None,
    seed: int = 0,
    previous: IntArray | None = None,
    objective: Objective | None = None,
) -> Layout:
    """A layout of one site of D channels.

    ``W``: co-access graph, symmetric non-negative zero-diagonal CSR (D, D). ``nets``: truth values
    (nets, D) of which channels each (weight, tile row) needs, or ``Nets`` with the bytes of each net's
    tile; None for a dense model, where J alone decides. ``block``: channels per tile column; ``line``:
    channels per 128-byte line, ``block`` by default. ``previous``: the layout to stay near, and to
    compare with. The same arguments give the same layout unless ``time_budget_s`` cut the search short
    (``stats["time_limited"]``).

    Raises ConfigError for input that is no such problem, SolverTimeout when the budget ended before the
    trivial candidates were scored.
    """
    if method not in METHODS:
        raise ConfigError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    solver_class: Any = getattr(import_module(f"icd.solver.{method}"), method.capitalize())
    solver = solver_class(
        seed=seed,
        time_budget_s=time_budget_s,
        max_proposals=max_proposals,
        **vars(objective or Objective()),
    )
    layout: Layout = solver.solve(
        W, nets, block=block, line=block if line is None else line, previous=previous
    )
    return layout


__all__ = ["METHODS", "Objective", "evaluate", "fit"]
