"""The search for few non-empty tiles: grown blocks, then swap annealing on bitsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import IntArray, inverse
from icd.solver.book import Book, Span
from icd.solver.reduce import Reduced

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 1 << 16
CHUNK_WORK = 1 << 27  # words looked at between two looks at the clock
MOST_BYTES = 1 << 30
NEAR = 96
PAIR_WORDS = 1 << 29
MOST_GROWTH = 1 << 34
# Start and end temperature in units of the mean net: structure in co-activation wants the hot one,
# structure in scale the middle one, masks without structure and short searches the cold one.
SCHEDULES = ((7.0, 2.0), (2.0, 0.5), (0.5, 0.2))
PILOT_SHARE, PILOT_TIME = 0.1, 0.2
LEAST_PILOT, MOST_PILOT, HOT_PER_CHANNEL = 20_000, 2_000_000, 150


def pack_tiles(book: Book, reduced: Reduced, proposals: int, seconds: float, seed: int) -> IntArray:
    """The layout with the fewest tiles found; enters ``growth`` and ``annealed`` into the book."""
    if len(reduced.weights) == 0 or at_lower_bound(book):
        return book.layouts[book.best]
    blocks = -(-book.problem.size // book.problem.block)
    if blocks * reduced.matrix.nnz <= MOST_GROWTH:
        with book.clock.alarm() as stop:
            grown = grow(reduced, book.problem.block, stop)
        book.enter("growth", grown)
    needed = bytes_needed(reduced, blocks)
    if needed > MOST_BYTES:
        book.leave_out("tiles", f"bits of {len(reduced.value)} words and {blocks} blocks: {needed:,} bytes")
    elif not at_lower_bound(book) and not book.clock.expired():
        annealing = Annealing(book, reduced, seed)
        book.enter("annealed", annealing.run(book.layouts[book.best], proposals, seconds))
    return book.layouts[book.best]


def bytes_needed(reduced: Reduced, blocks: int) -> int:
    """What an annealing keeps in memory: bits of the channels, and the counts and bits of the blocks."""
    words = len(reduced.value)
    return 8 * words * reduced.matrix.shape[1] + (128 + 16) * words * blocks


def grow(reduced: Reduced, block: int, stop: NDArray[np.uint8] | None = None) -> IntArray:
    """Blocks grown one after another from the channels that most nets need; ``stop`` (1,) ends it early."""
    from icd.solver._start_core import grow_blocks

    nets, channels = reduced.matrix, reduced.matrix.T.tocsr()
    order = grow_blocks(
        nets.indptr, nets.indices, channels.indptr, channels.indices, reduced.weights, block, stop
    )
    return np.asarray(order, np.int32)


def at_lower_bound(book: Book) -> bool:
    """Whether the best layout has every net in as few blocks as its channels fill."""
    nets = book.problem.nets
    if nets is None:
        return True
    blocks = -(-np.diff(nets.matrix.indptr) // book.problem.block)
    bound = float(nets.weights @ blocks)
    return bool(book.scores[book.best]["T"] <= bound * (1 + 1e-12))


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
        with book.clock.alarm() as stop:
            self.near = jaccard_neighbours(
                np.ascontiguousarray(self.bits[:, chosen]), min(NEAR, size - 1), stop
            )
        self.chunk = int(np.clip(CHUNK_WORK // max(1, words), 64, CHUNK))

    def run(self, start: IntArray, proposals: int, seconds: float) -> IntArray:
        """A short chain on every schedule, then the rest of the proposals on the one that went best."""
        pilot = min(MOST_PILOT, int(proposals * PILOT_SHARE))
        if pilot < LEAST_PILOT:
            return self.chain(start, proposals, seconds, SCHEDULES[-1])[0]
        deadline = self.book.clock.seconds() + seconds
        best, saved, schedule = start, 0.0, SCHEDULES[-1]
        for option in SCHEDULES if pilot >= HOT_PER_CHANNEL * len(start) else SCHEDULES[1:]:
            layout, gain = self.chain(start, pilot, seconds * PILOT_TIME, option)
            if gain > saved:
                best, saved, schedule = layout, gain, option
            proposals -= pilot
        return self.chain(best, proposals, deadline - self.book.clock.seconds(), schedule)[0]

    def chain(
        self, start: IntArray, proposals: int, seconds: float, schedule: tuple[float, float]
    ) -> tuple[IntArray, float]:
        """The best layout met on the way from hot to cold, and the tiles it saves on ``start``."""
        from icd.solver._bitset_core import anneal, block_state

        block = self.book.problem.block
        order = start.copy()
        pos = inverse(order)
        state: tuple[Any, ...] = block_state(self.bits, order, block)
        hot, cold = schedule
        cooling = (cold / hot) ** (1.0 / max(1, proposals))
        best, best_saved, saved = start, 0.0, 0.0
        for count, progress in Span(self.book.clock, proposals, seconds).chunks(self.chunk):
            saved += anneal(
                self.bits,
                *state,
                self.reduced.value,
                self.reduced.equal,
                order,
                pos,
                block,
                self.near,
                hot * (cold / hot) ** progress,
                cooling,
                count,
                self.state,
            )
            self.book.proposals += count
            if saved > best_saved + 1e-9:
                best, best_saved = order.copy(), saved
        return best, best_saved
