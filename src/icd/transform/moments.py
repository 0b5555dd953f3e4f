"""Sums over calibration tokens from which a linear layer is fitted and judged, without keeping a token.

    a   (n, in)    inputs of a layer
    y   (n, out)   what it should return
    V   (out, in)  a weight, c (out,) a bias

Tokens that are held out judge a fit and take no part in it: every fifth sequence of the calibration inputs,
counted over all batches, for tokens of one sequence resemble one another. With fewer than five sequences the
last fifth of each one's tokens is held out. Nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from icd.contracts import Inputs, Workload

PART = 5


@dataclass
class Moments:
    """Sums over ``n`` tokens, float64: inputs (in,), outputs (out,), their products, outputs squared."""

    n: int
    a: torch.Tensor  # (in,)
    y: torch.Tensor  # (out,)
    aa: torch.Tensor  # (in, in)
    ay: torch.Tensor  # (in, out)
    yy: torch.Tensor  # (out,)

    @classmethod
    def empty(cls, linear: nn.Linear) -> Moments:
        """Nothing summed yet."""

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=linear.weight.device)

        o, i = linear.weight.shape
        return cls(0, zeros(i), zeros(o), zeros(i, i), zeros(i, o), zeros(o))

    def add(self, a: torch.Tensor, y: torch.Tensor) -> None:
        """Add tokens: ``a`` (..., in) and ``y`` (..., out)."""
        a, y = a.reshape(-1, a.shape[-1]).double(), y.reshape(-1, y.shape[-1]).double()
        self.n += len(a)
        self.a += a.sum(0)
        self.y += y.sum(0)
        self.aa.addmm_(a.T, a)
        self.ay.addmm_(a.T, y)
        self.yy += y.square().sum(0)

    def centred(self, bias: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """``aa`` and ``ay`` about the means; as they are where there is no bias to move."""
        if not bias:
            return self.aa, self.ay
        return (
            self.aa - torch.outer(self.a, self.a) / self.n,
            self.ay - torch.outer(self.a, self.y) / self.n,
        )

    def finite(self) -> bool:
        """Whether every sum is a number; squares and their sums are not where a token is not."""
        return bool(torch.isfinite(self.aa).all() and torch.isfinite(self.yy).all())

    def missed(self, weight: torch.Tensor, bias: torch.Tensor | None) -> float:
        """``|a V' + c - y|^2`` as a share of the outputs' squares, about their mean where there is a bias."""
        error = self.yy.sum() - 2 * (weight.T * self.ay).sum() + ((weight @ self.aa) * weight).sum()
        total = self.yy.sum()
        if bias is not None:
            error = error + 2 * (bias * (weight @ self.a - self.y)).sum() + self.n * bias.square().sum()
            total = total - (self.y.square() / max(self.n, 1)).sum()
        return float(error / total) if total > 0 else float(error)


def held_of_each(
    batches: Sequence[Inputs], name: str = "", dim: int = 0, first: bool = False
) -> list[Callable[[int], torch.Tensor]]:
    """For each batch a function of its count of tokens: which of them are held out, bool (tokens,).

    Sequences lie in dimension ``dim`` of the input ``name``, else in the first of a batch's first input; and
    so they do in what layers see, or in the ``first`` dimension, as in a workload's outputs.
    """
    counts = [sequences(batch, name, dim) for batch in batches]
    whole = sum(counts) >= PART
    return [
        partial(
            held_out,
            count=count,
            before=sum(counts[:k]),
            whole=whole,
            inner=dim > 0 and not first and name in batches[k],
        )
        for k, count in enumerate(counts)
    ]


def where_sequences_lie(workload: Workload) -> tuple[str, int]:
    """Name and dimension of the input that holds a batch's sequences: what the workload says, else the first
    that is as long as the batch; masks and tables may come before it.
    """
    for name, dim in workload.batch_dims.items():
        return name, dim
    return next((name for name, x in workload.inputs.items() if x.dim() and len(x) == workload.batch), ""), 0


def sequences(batch: Inputs, name: str = "", dim: int = 0) -> int:
    """Sequences of a batch."""
    chosen = batch.get(name, next(iter(batch.values())))
    dim = dim if name in batch else 0
    return max(1, chosen.shape[dim] if chosen.dim() > dim else 1)


def held_out(tokens: int, count: int, before: int, whole: bool, inner: bool = False) -> torch.Tensor:
    """Which ``tokens`` of a batch are held out, bool (tokens,), in the order of a layer's flattened input.

    The batch has ``count`` sequences, after ``before`` in other batches; ``whole``: sequences are held out
    as wholes; ``inner``: tokens of the same place follow one another, not those of a sequence. A layer whose
    tokens do not divide by sequences has them taken as one.
    """
    divides = count <= tokens and tokens % count == 0
    each = tokens // count if divides else tokens
    position = torch.arange(tokens)
    swapped = inner and divides
    if whole:
        return (before + (position % count if swapped else position // max(each, 1))) % PART == PART - 1
    place = position // count if swapped else position % max(each, 1)
    return place >= each - each // PART
