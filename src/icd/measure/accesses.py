"""Reads and writes as a cache sees them: line numbers, and which sectors of each line.

A mask has bit k set where the access touches sector k of its line; a line of 128 bytes has four of 32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from icd.contracts import Reads

Int64s = NDArray[np.int64]


class Geometry(NamedTuple):
    """Bytes of a line and of a sector, which divides it."""

    line: int
    sector: int

    def lines(self, size: int) -> int:
        """Lines of ``size`` bytes from the beginning of a line on."""
        return -(-size // self.line)

    def whole_row(self, size: int) -> Int64s:
        """The masks of the lines of ``size`` contiguous bytes that begin with a line; int64."""
        masks = np.full(self.lines(size), upto(self.line // self.sector), np.int64)
        rest = size % self.line
        if rest:
            masks[-1] = upto(-(-rest // self.sector))
        return masks


class Accesses(NamedTuple):
    """``lines`` and ``masks``, both int64 and of one length, in the order of the accesses."""

    lines: Int64s
    masks: Int64s


def upto(sectors: int) -> int:
    """The mask of the first ``sectors`` of a line."""
    return (1 << sectors) - 1


def panels(
    rows: int, panel: int, columns: int, block: int, size: int, geometry: Geometry, base: int, given: int
) -> Accesses:
    """Reads of a matrix product: for each panel of weight rows, for each block of inputs: panel, then block.

    ``rows`` weights from line ``base`` on and ``columns`` inputs from line ``given`` on, ``size`` bytes each,
    in panels of ``panel`` rows and blocks of ``block`` inputs; every row begins with a line.
    """
    row = geometry.lines(size)
    weights = base + np.arange(rows * row, dtype=np.int64)
    inputs = given + np.arange(columns * row, dtype=np.int64)
    parts = []
    for first in range(0, rows, panel):
        for column in range(0, columns, block):
            parts += [weights[first * row : (first + panel) * row]]
            parts += [inputs[column * row : (column + block) * row]]
    lines = np.concatenate(parts)
    return Accesses(lines, np.tile(geometry.whole_row(size), len(lines) // row))


def written(rows: int, size: int, geometry: Geometry, base: int) -> Accesses:
    """Writes of ``rows`` of ``size`` bytes from line ``base`` on; every row begins with a line."""
    lines = base + np.arange(rows * geometry.lines(size), dtype=np.int64)
    return Accesses(lines, np.tile(geometry.whole_row(size), rows))


def recorded(reads: Reads, width: int, geometry: Geometry, base: int) -> Accesses:
    """Recorded reads of ``width`` bytes an element, of data from line ``base`` on.

    A read that spans several lines reads all of them, in order, and of each the sectors that it touches.
    """
    begin = reads.first * width
    end = (reads.first + reads.length) * width - 1  # the last byte
    first = begin // geometry.line
    count = end // geometry.line - first + 1
    start = np.repeat(np.cumsum(count) - count, count)
    lines = np.repeat(first, count) + np.arange(count.sum()) - start
    low = np.maximum(np.repeat(begin, count) - lines * geometry.line, 0) // geometry.sector
    high = np.minimum(np.repeat(end, count) - lines * geometry.line, geometry.line - 1) // geometry.sector
    masks = (np.int64(2) << high) - (np.int64(1) << low)
    return Accesses((base + lines).astype(np.int64), masks.astype(np.int64))
