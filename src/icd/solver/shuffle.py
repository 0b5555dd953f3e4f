"""A uniform random order: the control that says what destroying a layout costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.solver.base import LayoutSolver
from icd.solver.book import Book


@dataclass(frozen=True)
class Shuffle(LayoutSolver):
    """Answers with the permutation that ``seed`` draws, whatever it scores."""

    def search(self, book: Book) -> str:
        """The only candidate."""
        order = np.random.default_rng(self.seed).permutation(book.problem.size)
        book.enter("shuffle", order.astype(np.int32))
        return "shuffle"
