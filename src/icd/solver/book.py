"""The book of a solve: its clock, the stretches of its search, and the scores of its candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Timer
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import IntArray, Layout
from icd.errors import SolverTimeout
from icd.solver.objective import better
from icd.solver.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

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

    @contextmanager
    def alarm(self) -> Iterator[NDArray[np.uint8]]:
        """An array (1,) that turns from 0 to 1 when the budget is used up, while compiled code runs."""
        rung = np.zeros(1, np.uint8)
        if math.isinf(self.budget_s):
            yield rung
            return
        timer = Timer(self.left(), rung.fill, (1,))
        timer.daemon = True
        timer.start()
        try:
            yield rung
        finally:
            timer.cancel()
            self.limited = self.limited or bool(rung[0])

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

        for name, make in trivial_layouts(self.problem, self.clock.expired):
            if self.clock.expired():
                raise SolverTimeout(
                    f"the budget ended after {self.clock.seconds():.2f} s, before the candidate {name!r} "
                    "was scored; raise solver.time_budget_s"
                )
            self.enter(name, make())

    def leave_out(self, step: str, why: str) -> None:
        """Note a step of the search that is not made for its size; ``stats["left_out"]`` lists them."""
        self.notes.setdefault("left_out", {})[step] = why

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
