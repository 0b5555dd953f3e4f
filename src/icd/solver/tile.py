"""The layout search: fewest non-empty tiles first, then J among the layouts that keep them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from icd.solver.arrange import arrange, movable
from icd.solver.base import LayoutSolver
from icd.solver.book import Book
from icd.solver.pack_tiles import pack_tiles
from icd.solver.problem import Problem
from icd.solver.reduce import channel_classes, reduce_nets

TILE_PROPOSALS = 2000  # a channel
CELL_PROPOSALS, CELL_PROPOSALS_LARGE, LARGE = 4000, 1500, 4_500_000  # a channel; fewer from LARGE in all
LEAST_PROPOSALS, MOST_PROPOSALS = 100_000, 40_000_000
CELL_WORK = 1 << 31
TILE_SHARE = 0.8


@dataclass(frozen=True)
class Tile(LayoutSolver):
    """Never worse than identity, previous, degree and spectral by T, then J.

    T: grown blocks, then swap annealing with exact gains. J: channels needed by the same nets change
    places by annealing, whole blocks by swaps and insertions. ``max_proposals`` covers both annealings;
    by default the first gets 2000 a channel and the second 4000, or 1500 on large sites, within bounds.
    """

    def compile(self) -> None:
        """Compile every kernel of the search."""
        from icd.solver.warm import warm_search

        warm_search()

    def search(self, book: Book) -> str:
        """Trivial candidates, tiles, arrangement."""
        book.enter_trivial()
        problem = book.problem
        for_tiles, for_cells = self.shares(problem)
        classes = np.zeros(problem.size, np.int32)
        if problem.nets is not None:
            reduced = reduce_nets(problem.nets)
            classes = channel_classes(reduced)
            if self.max_proposals is not None and not len(movable(problem, classes)):
                for_tiles = self.max_proposals
            pack_tiles(book, reduced, for_tiles, book.clock.left() * TILE_SHARE, self.seed)
        if self.max_proposals is not None:
            for_cells = self.max_proposals - book.proposals
        if not book.clock.expired():
            packed = book.layouts[book.best]
            book.enter("tile", arrange(book, packed, classes, for_cells, book.clock.left(), self.seed))
        return book.best

    def shares(self, problem: Problem) -> tuple[int, int]:
        """Proposals for tiles and for cells; a proposal for cells costs as much as there are cells."""
        if self.max_proposals is not None:
            return int(self.max_proposals * TILE_SHARE), self.max_proposals
        bounds = LEAST_PROPOSALS, MOST_PROPOSALS
        cells = min(CELL_PROPOSALS * problem.size, max(LARGE, CELL_PROPOSALS_LARGE * problem.size))
        affordable = CELL_WORK * min(problem.block, problem.line) // problem.size
        return (
            int(np.clip(TILE_PROPOSALS * problem.size, *bounds)),
            min(int(np.clip(cells, *bounds)), affordable),
        )
