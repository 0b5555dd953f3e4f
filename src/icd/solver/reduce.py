"""Nets boiled down to what a search needs: each distinct set of channels once, in words by weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from icd.contracts import Nets

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

WORD = 64
MAX_CLASSES = 64


@dataclass(frozen=True)
class Reduced:
    """Distinct nets that a layout can influence.

    ``matrix``: CSR (nets, D); ``weights``: (nets,), in units of ``unit``; ``slot``: bit of each net;
    ``value``: (words,), the weight of a word's nets. Weights of more than ``MAX_CLASSES`` different
    sizes are rounded to the mean of their class in ``value``, which then only guides the search.
    """

    matrix: csr_matrix
    weights: NDArray[np.float64]
    unit: float
    slot: NDArray[np.int64]
    value: NDArray[np.float64]

    @property
    def equal(self) -> bool:
        """Whether all nets weigh the same."""
        return len(self.value) == 0 or bool((self.value == self.value[0]).all())

    def bits(self) -> NDArray[np.uint64]:
        """One row of bits a channel, (D, words)."""
        from icd.solver._bitset_core import pack

        channels = self.matrix.shape[1]
        return np.asarray(pack(self.matrix.indptr, self.matrix.indices, self.slot, channels, len(self.value)))


def reduce_nets(nets: Nets) -> Reduced:
    """Drop nets that no layout can change (empty, complete or without weight) and merge equal ones."""
    matrix = nets.matrix
    pins = np.diff(matrix.indptr)
    kept = np.flatnonzero((pins > 0) & (pins < matrix.shape[1]) & (nets.weights > 0))
    matrix = matrix[kept]
    weights: NDArray[np.float64] = nets.weights[kept]
    if len(kept):
        _, first, which = np.unique(row_hashes(matrix), axis=0, return_index=True, return_inverse=True)
        arrival = np.argsort(first, kind="stable")
        matrix = matrix[first[arrival]]
        weights = np.bincount(which.ravel(), weights=weights).astype(np.float64)[arrival]
    unit = float(weights.mean()) if len(weights) else 1.0
    slot, value = _slots(weights / unit)
    return Reduced(matrix, weights / unit, unit, slot, value)


def row_hashes(matrix: csr_matrix) -> NDArray[np.uint64]:
    """Two 64-bit hashes of each row's set of columns, (rows, 2); rows must not be empty."""
    keys = np.random.default_rng(0).integers(0, 2**64, (2, matrix.shape[1]), dtype=np.uint64)
    starts = matrix.indptr[:-1]
    return np.stack([np.add.reduceat(key[matrix.indices], starts) for key in keys], axis=1)


def channel_classes(reduced: Reduced) -> NDArray[np.int32]:
    """Class of each channel, (D,): channels of one class are needed by exactly the same nets."""
    by_channel = reduced.matrix.T.tocsr()
    classes = np.zeros(by_channel.shape[0], np.int32)
    needed = np.flatnonzero(np.diff(by_channel.indptr))
    if len(needed):
        _, which = np.unique(row_hashes(by_channel[needed]), axis=0, return_inverse=True)
        classes[needed] = which.ravel() + 1
    return classes


def _slots(weights: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Bit of each net and weight of each word, nets of one weight class filling words of their own."""
    distinct, which = np.unique(weights, return_inverse=True)
    if len(distinct) > MAX_CLASSES:
        rank = np.argsort(np.argsort(weights, kind="stable"), kind="stable")
        which = rank * MAX_CLASSES // len(weights)
        distinct = np.bincount(which, weights=weights) / np.bincount(which)
    members = np.bincount(which, minlength=len(distinct))
    words = -(-members // WORD)
    first_word = np.concatenate([[0], np.cumsum(words)])
    order = np.argsort(which, kind="stable")
    within = np.empty(len(weights), np.int64)
    within[order] = np.arange(len(weights)) - np.repeat(np.cumsum(members) - members, members)
    return first_word[which] * WORD + within, np.repeat(distinct, words)
