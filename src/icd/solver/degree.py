"""Channels by how much needs them, largest first; strong wherever sparsity is a matter of scale."""

from __future__ import annotations

from dataclasses import dataclass

from icd.solver.base import LayoutSolver
from icd.solver.book import Book
from icd.solver.trivial import degree_order


@dataclass(frozen=True)
class Degree(LayoutSolver):
    """Answers with this one layout, whatever it scores."""

    def search(self, book: Book) -> str:
        """The only candidate."""
        book.enter("degree", degree_order(book.problem))
        return "degree"
