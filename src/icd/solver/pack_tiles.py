"""The search for few non-empty tiles: grown blocks, then swap annealing on bitsets."""

from __future__ import annotations

from typing import Any

import numpy as np

from icd.contracts import IntArray, inverse
from icd.solver.base import Book
from icd.solver.reduce import Reduced

CHUNK = 1 << 16
NEAR = 48
PAIR_WORDS = 1 << 29
# Start and end temperature in units of the mean net: structure in co-activation wants the hot one,
# structure in scale the middle one, masks without structure the cold one.
SCHEDULES = ((8.0, 1.0), (2.0, 0.5), (0.5, 0.2))
PILOT_SHARE = 0.1


def pack_tiles(book: Book, reduced: Reduced, proposals: int, seed: int) -> IntArray:
    """The layout with the fewest tiles found; enters ``growth`` and ``annealed`` into the book."""
    from icd.solver._start_core import grow_blocks

    problem = book.problem
    if len(reduced.weights) == 0:
        return book.layouts[book.best]
    if not book.clock.expired():
        by_channel = reduced.matrix.T.tocsr()
        matrix = reduced.matrix
        book.enter(
            "growth",
            grow_blocks(
                matrix.indptr,
                matrix.indices,
                by_channel.indptr,
                by_channel.indices,
                reduced.weights,
                problem.block,
            ),
        )
    start = book.layouts[book.best]
    if book.scores[book.best]["T"] <= lower_bound(book, reduced) * (1 + 1e-12):
        return start
    annealed = Annealing(book, reduced, seed).run(start, proposals)
    book.enter("annealed", annealed)
    return book.layouts[book.best]


def lower_bound(book: Book, reduced: Reduced) -> float:
    """T cannot fall below each net in as few blocks as its channels fill."""
    nets = book.problem.nets
    if nets is None:
        return 0.0
    blocks = -(-np.diff(nets.matrix.indptr) // book.problem.block)
    return float(nets.weights @ blocks)


class Annealing:
    """Chains over one set of bitsets; proposals are counted in the book, the clock is asked between."""

    def __init__(self, book: Book, reduced: Reduced, seed: int) -> None:
        from icd.solver._random_core import seeded
        from icd.solver._start_core import jaccard_neighbours

        self.book = book
        self.reduced = reduced
        self.bits = reduced.bits()
        self.state = seeded(seed)
        size, words = self.bits.shape
        sample = int(np.clip(PAIR_WORDS // size**2, 8, words)) if words > 8 else words
        chosen = np.sort(np.random.default_rng(seed).choice(words, sample, replace=False))
        self.near = jaccard_neighbours(np.ascontiguousarray(self.bits[:, chosen]), min(NEAR, size - 1))

    def run(self, start: IntArray, proposals: int) -> IntArray:
        """A short chain on every schedule, then the rest of the proposals on the one that went best."""
        pilot = max(CHUNK // 4, int(proposals * PILOT_SHARE))
        best, saved, schedule = start, 0.0, SCHEDULES[0]
        for option in SCHEDULES:
            if pilot * len(SCHEDULES) > proposals:
                break
            layout, gain = self.chain(start, pilot, option)
            proposals -= pilot
            if gain > saved:
                best, saved, schedule = layout, gain, option
        if saved == 0.0:
            schedule = SCHEDULES[-1]
        layout, gain = self.chain(best, proposals, schedule)
        return layout if gain > 0.0 else best

    def chain(self, start: IntArray, proposals: int, schedule: tuple[float, float]) -> tuple[IntArray, float]:
        """The best layout met on the way from hot to cold, and the tiles it saves on ``start``."""
        from icd.solver._bitset_core import anneal, block_state

        block = self.book.problem.block
        order = start.copy()
        pos = inverse(order)
        state: tuple[Any, ...] = block_state(self.bits, order, block)
        hot, cold = schedule
        cooling = (cold / hot) ** (1.0 / max(1, proposals))
        best, best_saved, saved, done = start, 0.0, 0.0, 0
        while done < proposals and not self.book.clock.expired():
            count = min(CHUNK, proposals - done)
            saved += anneal(
                self.bits,
                *state,
                self.reduced.value,
                self.reduced.equal,
                order,
                pos,
                block,
                self.near,
                hot * cooling**done,
                cooling,
                count,
                self.state,
            )
            done += count
            self.book.proposals += count
            if saved > best_saved + 1e-9:
                best, best_saved = order.copy(), saved
        return best, best_saved
