"""The layout search: fewest non-empty tiles first, then J among the layouts that keep them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.solver.arrange import arrange, movable
from icd.solver.base import LayoutSolver
from icd.solver.book import Book
from icd.solver.pack_tiles import pack_tiles
from icd.solver.reduce import channel_classes, reduce_nets

PROPOSALS_PER_CHANNEL = 2000
LEAST_PROPOSALS, MOST_PROPOSALS = 100_000, 40_000_000
TILE_SHARE = 0.8
CELL_WORK = 1 << 31


@dataclass(frozen=True)
class Tile(LayoutSolver):
    """Never worse than identity, previous, degree and spectral by T, then J.

    T: grown blocks, then swap annealing with exact gains. J: channels needed by the same nets change
    places by annealing, whole blocks by swaps and insertions. The default number of proposals grows
    with the site.
    """

    def compile(self) -> None:
        """Compile every kernel of the search."""
        from icd.solver.warm import warm_search

        warm_search()

    def search(self, book: Book) -> str:
        """Trivial candidates, tiles, arrangement."""
        book.enter_trivial()
        problem = book.problem
        proposals = self.max_proposals or int(
            np.clip(PROPOSALS_PER_CHANNEL * problem.size, LEAST_PROPOSALS, MOST_PROPOSALS)
        )
        classes = np.zeros(problem.size, np.int32)
        if problem.nets is not None:
            reduced = reduce_nets(problem.nets)
            classes = channel_classes(reduced)
            share = TILE_SHARE if len(movable(problem, classes)) else 1.0
            pack_tiles(book, reduced, int(proposals * share), book.clock.left() * TILE_SHARE, self.seed)
        if not book.clock.expired():
            rest = proposals - book.proposals
            if self.max_proposals is None:
                rest = min(rest, CELL_WORK * min(problem.block, problem.line) // problem.size + 1)
            packed = book.layouts[book.best]
            book.enter("tile", arrange(book, packed, classes, rest, book.clock.left(), self.seed))
        return book.best
