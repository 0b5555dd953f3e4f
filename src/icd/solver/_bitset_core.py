"""Blocks of channels as bitsets of the nets they touch, and swap annealing on them.

    bits   (D, words) uint64: bit s of channel c is set when the net in slot s needs c
    count  (K, words * 64) uint16: channels of a block that need the net
    ge1    (K, words): nets that a block touches; one: nets that exactly one channel of it needs
    order  (D,): channel at each position; block b holds the positions b*w ... (b+1)*w - 1
    value  (words,): weight of the nets of a word, all 64 alike

Swapping c of block a with d of block b, with x = c & ~d and y = d & ~c, saves
``pop(x & one[a]) + pop(y & one[b]) - pop(x & ~ge1[b]) - pop(y & ~ge1[a])`` non-empty tiles.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from icd.solver._random_core import below, uniform

ONE = np.uint64(1)
ZERO = np.uint64(0)
NEAR_SHARE = 0.7


@intrinsic  # type: ignore[misc]
def popcount(typingctx: Any, x: Any) -> Any:
    """Set bits of a uint64, through LLVM's ctpop."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(function, [args[0]])

    return types.uint64(types.uint64), generate


@njit(cache=True, nogil=True)
def pack(indptr: Any, indices: Any, slot: Any, channels: int, words: int) -> Any:
    """``bits`` of the nets of a CSR (nets, D); net r goes to ``slot[r]``."""
    bits = np.zeros((channels, words), np.uint64)
    for net in range(len(indptr) - 1):
        word = slot[net] >> 6
        bit = ONE << np.uint64(slot[net] & 63)
        for e in range(indptr[net], indptr[net + 1]):
            bits[indices[e], word] |= bit
    return bits


@njit(cache=True, nogil=True)
def block_state(bits: Any, order: Any, block: int) -> Any:
    """``count``, ``ge1`` and ``one`` of the blocks that ``order`` makes."""
    channels, words = bits.shape
    blocks = (channels + block - 1) // block
    count = np.zeros((blocks, words * 64), np.uint16)
    ge1 = np.zeros((blocks, words), np.uint64)
    one = np.zeros((blocks, words), np.uint64)
    for p in range(channels):
        b = p // block
        for w in range(words):
            x = bits[order[p], w]
            while x != ZERO:
                low = x & (~x + ONE)
                count[b, w * 64 + np.int64(popcount(low - ONE))] += 1
                x ^= low
    for b in range(blocks):
        for s in range(words * 64):
            bit = ONE << np.uint64(s & 63)
            if count[b, s] > 0:
                ge1[b, s >> 6] |= bit
            if count[b, s] == 1:
                one[b, s >> 6] |= bit
    return count, ge1, one


@njit(cache=True, nogil=True, inline="always")
def swap_gain_equal(bits: Any, ge1: Any, one: Any, c: int, a: int, d: int, b: int) -> Any:
    """Tiles saved by swapping c of block a with d of block b, every net of weight one."""
    gain = np.int64(0)
    for w in range(bits.shape[1]):
        x = bits[c, w] & ~bits[d, w]
        y = bits[d, w] & ~bits[c, w]
        saved = np.int64(popcount(x & one[a, w])) + np.int64(popcount(y & one[b, w]))
        added = np.int64(popcount(x & ~ge1[b, w])) + np.int64(popcount(y & ~ge1[a, w]))
        gain += saved - added
    return np.float64(gain)


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz"}, inline="always")
def swap_gain_weighted(bits: Any, ge1: Any, one: Any, value: Any, c: int, a: int, d: int, b: int) -> Any:
    """The same with each word's weight."""
    gain = 0.0
    for w in range(bits.shape[1]):
        x = bits[c, w] & ~bits[d, w]
        y = bits[d, w] & ~bits[c, w]
        saved = np.int64(popcount(x & one[a, w])) + np.int64(popcount(y & one[b, w]))
        added = np.int64(popcount(x & ~ge1[b, w])) + np.int64(popcount(y & ~ge1[a, w]))
        gain += value[w] * np.float64(saved - added)
    return gain


@njit(cache=True, nogil=True, inline="always")
def move_pins(pins: Any, word: int, source: int, target: int, count: Any, ge1: Any, one: Any) -> None:
    """Move one word's pins of a channel from block ``source`` to ``target``."""
    while pins != ZERO:
        low = pins & (~pins + ONE)
        s = word * 64 + np.int64(popcount(low - ONE))
        pins ^= low
        count[source, s] -= 1
        count[target, s] += 1
        left = count[source, s]
        if left == 0:
            ge1[source, word] &= ~low
            one[source, word] &= ~low
        elif left == 1:
            one[source, word] |= low
        now = count[target, s]
        if now == 1:
            ge1[target, word] |= low
            one[target, word] |= low
        elif now == 2:
            one[target, word] &= ~low


@njit(cache=True, nogil=True, inline="always")
def swap_channels(bits: Any, count: Any, ge1: Any, one: Any, c: int, a: int, d: int, b: int) -> None:
    """Carry out a swap; costs the pins that change."""
    for w in range(bits.shape[1]):
        move_pins(bits[c, w] & ~bits[d, w], w, a, b, count, ge1, one)
        move_pins(bits[d, w] & ~bits[c, w], w, b, a, count, ge1, one)


@njit(cache=True, nogil=True)
def anneal(
    bits: Any,
    count: Any,
    ge1: Any,
    one: Any,
    value: Any,
    equal: bool,
    order: Any,
    pos: Any,
    block: int,
    near: Any,
    temperature: float,
    cooling: float,
    proposals: int,
    state: Any,
) -> Any:
    """Propose swaps, towards the blocks of near channels most of the time; returns the tiles saved.

    Changes ``order``, ``pos`` and the block state in place. ``near``: (D, k) similar channels.
    """
    channels = len(order)
    saved = 0.0
    for _ in range(proposals):
        temperature *= cooling
        c = below(state, channels)
        if near.shape[1] > 0 and uniform(state) < NEAR_SHARE:
            start = pos[near[c, below(state, near.shape[1])]] // block * block
            q = start + below(state, min(block, channels - start))
        else:
            q = below(state, channels)
        d = order[q]
        a = pos[c] // block
        b = q // block
        if a == b:
            continue
        if equal:
            gain = swap_gain_equal(bits, ge1, one, c, a, d, b)
        else:
            gain = swap_gain_weighted(bits, ge1, one, value, c, a, d, b)
        if gain < 0.0 and (gain < -20.0 * temperature or uniform(state) >= np.exp(gain / temperature)):
            continue
        swap_channels(bits, count, ge1, one, c, a, d, b)
        p = pos[c]
        order[p] = d
        order[q] = c
        pos[c] = q
        pos[d] = p
        saved += gain
    return saved
