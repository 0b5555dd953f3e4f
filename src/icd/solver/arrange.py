"""Lower J while T stays: which of the interchangeable channels share blocks, and the blocks' order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import IntArray, inverse
from icd.solver.book import Book, Span
from icd.solver.cells import Cells, make_cells
from icd.solver.communities import find_communities
from icd.solver.problem import Problem
from icd.solver.slots import order_whole_blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

CHUNK = 1 << 15
CHUNK_WORK = 1 << 27  # cells looked at between two looks at the clock
NEAR = 16
COLD = 0.003
# Chains of the annealing: which of the starts (None: the best layout so far), and how hot to begin, in units
# of what a random swap changes. Single chains from one start differ by some percent of J.
CHAINS: tuple[tuple[int | None, float], ...] = ((0, 0.3), (1, 0.3), (0, 0.6), (None, 0.15))
SAMPLES = 512
INSIDE = 0.2


def arrange(
    book: Book, pi: IntArray, classes: NDArray[np.int32], proposals: int, seconds: float, seed: int
) -> IntArray:
    """A layout of ``pi``'s T and lower J.

    ``classes``: (D,), channels of one class are needed by the same nets and may change places.
    """
    problem = book.problem
    cells = make_cells(problem)
    found: list[tuple[float, IntArray]] = []

    def note(layout: IntArray) -> None:
        ordered = tidy(problem, cells, order_whole_blocks(problem, cells, layout, book.clock))
        found.append((problem.evaluate(ordered)["J"], ordered))
        found.sort(key=lambda entry: entry[0])

    note(pi)
    for rank in wanted_orders(book, seed):
        if book.clock.expired():
            return found[0][1]
        note(rearrange(pi, classes, rank))
    pool = movable(problem, classes)
    if len(pool) and not cells.searched:
        book.leave_out("cells", f"{problem.size} channels in {len(cells.block)} cells need too large tables")
        pool = pool[:0]
    starts = [layout for _, layout in found]
    for chain, (start, hot) in enumerate(CHAINS if len(pool) else ()):
        left = len(CHAINS) - chain
        span = Span(book.clock, proposals // len(CHAINS), min(seconds, book.clock.left()) / left)
        layout = found[0][1] if start is None else starts[start % len(starts)]
        note(swap_between_cells(book, cells, layout, classes, pool, span, hot, seed + chain))
    return found[0][1]


def movable(problem: Problem, classes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Channels that can change cells at no cost in T and some effect on J."""
    several = np.bincount(classes)[classes] > 1
    finer = problem.line < problem.block or problem.line % problem.block != 0
    linked = (problem.strength > 0) | (problem.previous is not None)
    pool = np.flatnonzero(linked & (several | finer)).astype(np.int32)
    alone = len(pool) < 2 or problem.size <= min(problem.block, problem.line) or problem.levels.nnz == 0
    return pool[:0] if alone else pool


def rearrange(pi: IntArray, classes: NDArray[np.int32], rank: IntArray) -> IntArray:
    """Positions keep the class of their channel; within a class channels come in the order ``rank``."""
    out = np.empty_like(pi)
    held = np.argsort(classes[pi], kind="stable")
    out[held] = rank[np.argsort(classes[rank], kind="stable")]
    return out


def wanted_orders(book: Book, seed: int) -> Iterator[IntArray]:
    """Orders worth keeping within classes: the previous one, and those that W asks for: spectral, by
    community, and by community with whole blocks first."""
    problem = book.problem
    if problem.previous is not None:
        yield problem.previous
    spectral = book.layouts["spectral"]
    yield spectral
    if problem.strength.any() and not book.clock.expired():
        with book.clock.alarm() as stop:
            labels, _ = find_communities(
                problem.levels,
                resolution=problem.objective.resolution,
                seed=seed,
                kicks=2,
                expired=book.clock.expired,
                stop=stop,
            )
        yield from community_orders(labels, spectral, problem.block)


def community_orders(labels: NDArray[np.int64], along: IntArray, block: int) -> tuple[IntArray, IntArray]:
    """Communities one after another by their mean place in ``along``; plain, and with the members that
    fill no whole block gathered behind."""
    place = inverse(along).astype(float)
    mean = np.bincount(labels, weights=place) / np.maximum(np.bincount(labels), 1)
    plain = np.lexsort((place, labels, mean[labels]))
    ordered = labels[plain]
    size = np.bincount(ordered)
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    within = np.arange(len(plain)) - np.repeat(starts, np.diff(np.r_[starts, len(plain)]))
    leftover = within >= size[ordered] // block * block
    return plain.astype(np.int32), plain[np.argsort(leftover, kind="stable")].astype(np.int32)


def swap_between_cells(
    book: Book,
    cells: Cells,
    pi: IntArray,
    classes: NDArray[np.int32],
    pool: NDArray[np.int32],
    span: Span,
    hot: float,
    seed: int,
) -> IntArray:
    """Annealing over the swaps that keep T; the best layout met."""
    from icd.solver._cell_core import anneal_cells, sample_pulls, strongest_neighbours, weight_to_cells
    from icd.solver._random_core import seeded

    problem, weights = book.problem, book.problem.objective
    graph = (problem.levels.indptr, problem.levels.indices, problem.levels.data)
    order, state = pi.copy(), seeded(seed + 1)
    pos = inverse(order)
    S = weight_to_cells(*graph, pos, cells.of, len(cells.block))
    load = np.bincount(pos // problem.block, weights=problem.strength)
    typical = sample_pulls(S, cells.cost, cells.of, pos, pool, SAMPLES, state)
    several = bool((np.bincount(classes)[classes[pool]] > 1).any())
    split = len(cells.block) > len(np.unique(cells.block))
    inside = (INSIDE if several else 1.0) if split else 0.0
    null_price = weights.mu * weights.resolution / problem.strength.sum() ** 2 * cells.scale
    move_price = weights.gamma_s / problem.size * cells.scale if problem.previous is not None else 0.0
    fixed = (
        *(cells.of, cells.start, cells.block),
        *(order, pos, pool, classes),
        strongest_neighbours(*graph, NEAR),
        inverse(problem.initial).astype(np.int64),
        *(problem.block, null_price, move_price, inside),
    )
    cooling = (COLD / hot) ** (1.0 / span.proposals)
    chunk = int(np.clip(CHUNK_WORK // len(cells.block), 64, CHUNK))
    best, best_change, change = pi, 0.0, 0.0
    for count, progress in span.chunks(chunk):
        heat = typical * hot * (COLD / hot) ** progress
        change += anneal_cells(
            S, cells.cost, *graph, problem.strength, load, *fixed, heat, cooling, count, state
        )
        book.proposals += count
        if change < best_change:
            best, best_change = order.copy(), change
    return best


def tidy(problem: Problem, cells: Cells, pi: IntArray) -> IntArray:
    """Inside a cell nothing but stability depends on the order: take the previous one."""
    before = inverse(problem.initial)
    return pi[np.lexsort((before[pi], cells.of))]
