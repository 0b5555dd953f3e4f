"""What every solver shares: its configuration, and the shell around its search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from icd.contracts import BoolArray, IntArray, Layout, Nets
from icd.errors import ConfigError
from icd.solver.book import Book, Clock
from icd.solver.objective import Objective
from icd.solver.problem import pose

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OnTimeout = Literal["keep", "fail"]


@dataclass(frozen=True)
class LayoutSolver(ABC):
    """A solver is its configuration.

    ``seed`` and ``max_proposals`` (None: by the size of the site) decide the answer; ``time_budget_s``
    is a ceiling, and an answer cut short by it says ``time_limited``. ``on_timeout`` tells the caller
    what to do when even the trivial candidates did not fit: keep the previous layout, or fail. The
    rest weighs the objective (icd.solver.objective).
    """

    seed: int = 0
    time_budget_s: float = 300.0
    max_proposals: int | None = None
    on_timeout: OnTimeout = "keep"
    alpha: float = 1.0
    beta: float = 0.2
    gamma_s: float = 0.1
    mu: float = 0.5
    lam: float = 3.0
    tau: float = 0.25
    resolution: float = 1.0

    def __post_init__(self) -> None:
        if not self.time_budget_s > 0.0:
            raise ConfigError(f"solver.time_budget_s: expected seconds above 0, got {self.time_budget_s!r}")
        if self.max_proposals is not None and self.max_proposals < 1:
            raise ConfigError(
                f"solver.max_proposals: expected a positive number or null, got {self.max_proposals!r}"
            )
        if self.on_timeout not in get_args(OnTimeout):
            raise ConfigError(f"solver.on_timeout: expected keep or fail, got {self.on_timeout!r}")
        for name, value in self._weights().items():
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"solver.{name}: expected a finite number of at least 0, got {value!r}")

    @property
    def objective(self) -> Objective:
        """The objective that this configuration weighs."""
        return Objective(**self._weights())

    def solve(
        self,
        W: csr_matrix,
        nets: csr_matrix | BoolArray | Nets | None,
        *,
        block: int,
        line: int,
        previous: IntArray | None = None,
    ) -> Layout:
        """A layout of one site of D channels.

        ``W``: co-access graph (D, D); ``nets``: what each (weight, tile row) needs, or None; ``block``
        and ``line``: channels per tile column and per 128-byte line; ``previous``: the layout to stay
        near. Raises ConfigError for bad input and SolverTimeout when the budget ended too early.
        """
        compiling = Clock(float("inf"))
        self.compile()
        compile_s = compiling.seconds()
        clock = Clock(self.time_budget_s)
        problem = pose(W, nets, block=block, line=line, previous=previous, objective=self.objective)
        book = Book(problem, clock, notes={"compile_seconds": compile_s})
        return book.close(self.search(book))

    def compile(self) -> None:
        """Compile the referee's kernels, outside the budget; solvers with kernels of their own add them."""
        from icd.solver.warm import warm_referee

        warm_referee()

    @abstractmethod
    def search(self, book: Book) -> str:
        """Enter candidates into ``book`` and return the name of the one to answer with."""

    def _weights(self) -> Mapping[str, float]:
        names = ("alpha", "beta", "gamma_s", "mu", "lam", "tau", "resolution")
        return {name: float(getattr(self, name)) for name in names}
