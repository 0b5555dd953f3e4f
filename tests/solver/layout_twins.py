"""The objective again, by its definition: dense loops over pairs and blocks, no shared code."""

from __future__ import annotations

import numpy as np


def position(pi):
    return {int(old): new for new, old in enumerate(pi)}


def phi(d, lam, tau):
    return d if d <= lam else lam + tau * (d - lam)


def cost_c(W, pi, line, lam=3.0, tau=0.25):
    pos, n = position(pi), len(pi)
    return sum(
        W[i, j] * phi(abs(pos[i] // line - pos[j] // line), lam, tau)
        for i in range(n)
        for j in range(i + 1, n)
    )


def modularity(W, pi, block, resolution=1.0):
    pos, n, k = position(pi), len(pi), W.sum(axis=1)
    two_m = W.sum()
    return (
        sum(
            W[i, j] - resolution * k[i] * k[j] / two_m
            for i in range(n)
            for j in range(n)
            if pos[i] // block == pos[j] // block
        )
        / two_m
    )


def r_align(W, pi, line):
    pos, n = position(pi), len(pi)
    pairs = [(i, j) for i in range(n) for j in range(i + 1, n)]
    total = sum(W[i, j] for i, j in pairs)
    return sum(W[i, j] for i, j in pairs if pos[i] // line != pos[j] // line) / total


def r_stab(pi, previous, block):
    new, old = position(pi), position(previous)
    return np.mean([abs(new[c] - old[c]) > block for c in new])


def tiles(pins, weights, pi, block):
    ordered = np.asarray(pins)[:, pi]
    starts = range(0, len(pi), block)
    return sum(
        weight * sum(bool(row[s : s + block].any()) for s in starts)
        for weight, row in zip(weights, ordered, strict=True)
    )
