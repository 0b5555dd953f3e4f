"""What every solver shares: its configuration, the shell around the search, and the book of scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from icd.contracts import BoolArray, IntArray, Layout, Nets
from icd.errors import ConfigError, SolverTimeout
from icd.solver.objective import Objective, better
from icd.solver.problem import Problem, pose

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

OnTimeout = Literal["keep", "fail"]
HEAD_START = 0.25


class Clock:
    """Wall-clock budget of one solve; remembers whether anything was cut short by it."""

    def __init__(self, budget_s: float) -> None:
        self.start = perf_counter()
        self.budget_s = budget_s
        self.limited = False

    def expired(self) -> bool:
        """Whether the budget is used up; the answer yes is remembered in ``limited``."""
        if self.seconds() >= self.budget_s:
            self.limited = True
            return True
        return False

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return max(0.0, self.budget_s - self.seconds())

    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.start


class Span:
    """A stretch of a search: so many proposals, in at most so many seconds of its clock."""

    def __init__(self, clock: Clock, proposals: int, seconds: float) -> None:
        self.clock, self.proposals, self.seconds = clock, max(1, proposals), max(seconds, 1e-9)
        self.start = clock.seconds()

    def chunks(self, size: int) -> Iterator[tuple[int, float]]:
        """Proposals of each chunk, and how far the stretch is (0 to 1) when it begins.

        Proposals decide how far it is. Where they are so slow that the seconds would end first, the
        seconds decide (hot chunks are the slow ones, hence the head start), so that a chain always
        cools down, and the clock notes that it was limited.
        """
        done = 0
        while done < self.proposals:
            elapsed = (self.clock.seconds() - self.start) / self.seconds
            progress = done / self.proposals
            by_time = (elapsed - HEAD_START) / (1.0 - HEAD_START)
            if by_time > progress:
                self.clock.limited = True
                progress = by_time
            if progress >= 1.0:
                return
            count = min(size, self.proposals - done)
            yield count, progress
            done += count


@dataclass
class Book:
    """Scores of the candidates of one solve, in the order they came; the first of equals stays best."""

    problem: Problem
    clock: Clock
    scores: dict[str, dict[str, Any]] = field(default_factory=dict)
    layouts: dict[str, IntArray] = field(default_factory=dict)
    proposals: int = 0
    notes: dict[str, Any] = field(default_factory=dict)

    def enter(self, name: str, pi: IntArray) -> dict[str, Any]:
        """Score ``pi`` under ``name``; of two layouts with one name the better stays."""
        score = self.problem.evaluate(pi)
        if name not in self.scores or better(score, self.scores[name]):
            self.scores[name] = score
            self.layouts[name] = pi
        return score

    @property
    def best(self) -> str:
        """Name of the best candidate so far."""
        names = iter(self.scores)
        best = next(names)
        for name in names:
            if better(self.scores[name], self.scores[best]):
                best = name
        return best

    def enter_trivial(self) -> None:
        """Score identity, previous, degree and spectral; SolverTimeout if the budget ends before."""
        from icd.solver.trivial import trivial_layouts

        for name, make in trivial_layouts(self.problem):
            if self.clock.expired():
                raise SolverTimeout(
                    f"the budget ended after {self.clock.seconds():.2f} s, before the candidate {name!r} "
                    "was scored; raise solver.time_budget_s"
                )
            self.enter(name, make())

    def close(self, chosen: str) -> Layout:
        """The layout called ``chosen`` with the statistics that the record keeps."""
        problem = self.problem
        pi = self.layouts[chosen]
        before = problem.evaluate(problem.initial)
        after = self.scores[chosen]
        stats = {
            "before": before,
            "after": after,
            "improved": better(after, before),
            "candidates": {
                name: {key: score[key] for key in ("T", "C", "Q", "J")} for name, score in self.scores.items()
            },
            "chosen": chosen,
            "previous_kept": bool(np.array_equal(pi, problem.initial)),
            "proposals": self.proposals,
            "seconds": self.clock.seconds(),
            "time_limited": self.clock.limited,
            **self.notes,
        }
        return Layout(np.ascontiguousarray(pi, np.int32), stats)


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
            raise ConfigError(f"time_budget_s: expected seconds above 0, got {self.time_budget_s!r}")
        if self.max_proposals is not None and self.max_proposals < 1:
            raise ConfigError(
                f"max_proposals: expected a positive number or null, got {self.max_proposals!r}"
            )
        if self.on_timeout not in get_args(OnTimeout):
            raise ConfigError(f"on_timeout: expected keep or fail, got {self.on_timeout!r}")
        for name, value in self._weights().items():
            if not 0.0 <= value < float("inf"):
                raise ConfigError(f"{name}: expected a finite number of at least 0, got {value!r}")

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
        problem = pose(W, nets, block=block, line=line, previous=previous, objective=self.objective)
        compiling = Clock(float("inf"))
        self.compile()
        compile_s = compiling.seconds()
        book = Book(problem, Clock(self.time_budget_s), notes={"compile_seconds": compile_s})
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
