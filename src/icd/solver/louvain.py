"""Communities of W, cut into blocks: what modularity alone makes of a layout."""

from __future__ import annotations

from dataclasses import dataclass

from icd.solver.arrange import community_orders
from icd.solver.base import LayoutSolver
from icd.solver.book import Book
from icd.solver.cells import make_cells
from icd.solver.communities import find_communities
from icd.solver.slots import order_whole_blocks

KICKS = 20


@dataclass(frozen=True)
class Louvain(LayoutSolver):
    """The better of two ways to cut communities into blocks, never worse than the trivial candidates.

    ``icd.solver.communities.find_communities`` gives the communities themselves. ``max_proposals``
    caps the number of kicks that the partition gets.
    """

    def compile(self) -> None:
        """Compile every kernel of the search."""
        from icd.solver.warm import warm_search

        warm_search()

    def search(self, book: Book) -> str:
        """Trivial candidates, communities, blocks in order."""
        book.enter_trivial()
        problem = book.problem
        with book.clock.alarm() as stop:
            labels, reached = find_communities(
                problem.levels,
                resolution=self.resolution,
                seed=self.seed,
                kicks=KICKS if self.max_proposals is None else min(KICKS, self.max_proposals),
                expired=book.clock.expired,
                stop=stop,
            )
        book.notes["communities"] = {"count": int(labels.max()) + 1, "Q": reached}
        cells = make_cells(problem)
        for order in community_orders(labels, book.layouts["spectral"], problem.block):
            book.enter("louvain", order_whole_blocks(problem, cells, order, book.clock))
        return book.best
