"""Linear layers whose weights and inputs are rounded to fp8 (e4m3) or int8 values.

Scales: weights one an output row, inputs one a call (dynamic), both from the largest magnitude.
"""

from __future__ import annotations

import torch
from torch import nn

LARGEST = {"fp8": 448.0, "int8": 127.0}


def round_to(x: torch.Tensor, format: str, dim: int | None) -> torch.Tensor:
    """``x`` rounded to ``format`` with one scale for each index of ``dim`` (None: one in all)."""
    magnitude = x.abs().amax() if dim is None else x.abs().amax(dim=dim, keepdim=True)
    scale = magnitude.clamp_min(torch.finfo(torch.float32).tiny) / LARGEST[format]
    scaled = x / scale
    if format == "fp8":
        return scaled.to(torch.float8_e4m3fn).to(x.dtype) * scale
    return scaled.round().clamp(-127, 127) * scale


class RoundedLinear(nn.Module):
    """``F.linear`` on rounded values; weight (out, in) and bias as in the layer it stands for."""

    def __init__(self, linear: nn.Linear, format: str) -> None:
        super().__init__()
        self.format = format
        self.weight = nn.Parameter(round_to(linear.weight.detach(), format, dim=1), requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        return nn.functional.linear(round_to(x, self.format, dim=None), self.weight, self.bias)


def round_linears(module: nn.Module, format: str) -> nn.Module:
    """Replace every `nn.Linear` below ``module`` (in place) by a `RoundedLinear`."""
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, RoundedLinear(child, format))
        else:
            round_linears(child, format)
    return module
