"""Rounding to fp8 (e4m3) or int8 values, and linear layers that do so and compute in float32.

Scales come from the largest magnitude: weights have one an output row; inputs one a call (``tensor``) or
one a token (``row``), computed as they come (dynamic). The executed layers round with the same function.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Scales = Literal["row", "tensor"]
LARGEST = {"fp8": 448.0, "int8": 127.0}
STORED = {"fp8": torch.float8_e4m3fn, "int8": torch.int8}


def quantise(x: torch.Tensor, format: str, dim: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """``(values in the format, float32 scale)`` with ``x ~ values * scale``.

    ``dim`` is the dimension along which one scale holds, kept with length 1; None: one scale in all, ().
    """
    x = x.float()
    magnitude = x.abs().amax() if dim is None else x.abs().amax(dim=dim, keepdim=True)
    scale = magnitude.clamp_min(torch.finfo(torch.float32).tiny * LARGEST[format]) / LARGEST[format]
    scaled = (x / scale).clamp(-LARGEST[format], LARGEST[format])
    return (scaled.round() if format == "int8" else scaled).to(STORED[format]), scale


def round_to(x: torch.Tensor, format: str, dim: int | None) -> torch.Tensor:
    """``x`` rounded to ``format``, as `quantise` does."""
    values, scale = quantise(x, format, dim)
    return (values.float() * scale).to(x.dtype)


class RoundedLinear(nn.Module):
    """``F.linear`` on rounded values; weight (out, in) and bias as in the layer it stands for."""

    def __init__(self, linear: nn.Linear, format: str, scales: Scales = "row") -> None:
        super().__init__()
        self.format = format
        self.dim = -1 if scales == "row" else None
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(round_to(linear.weight.detach(), format, dim=1), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return nn.functional.linear(round_to(x, self.format, self.dim), self.weight, self.bias)


def round_linears(module: nn.Module, format: str, scales: Scales = "row") -> nn.Module:
    """Replace every `nn.Linear` below ``module`` (in place) by a `RoundedLinear`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, RoundedLinear(child, format, scales))
        else:
            round_linears(child, format, scales)
    return module
