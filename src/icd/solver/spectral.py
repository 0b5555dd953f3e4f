"""Channels by the Fiedler vector of the co-access graph."""

from __future__ import annotations

from dataclasses import dataclass

from icd.solver.base import LayoutSolver
from icd.solver.book import Book
from icd.solver.trivial import spectral_order


@dataclass(frozen=True)
class Spectral(LayoutSolver):
    """Answers with this one layout, whatever it scores."""

    def search(self, book: Book) -> str:
        """The only candidate."""
        book.enter("spectral", spectral_order(book.problem))
        return "spectral"
