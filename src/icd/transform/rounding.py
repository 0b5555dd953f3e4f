"""Rounding to fp8 (e4m3) or int8 values, and linear layers that do so and compute in float32.

A weight has one scale an output row, or one a row and group of input columns; its scale comes from the
largest magnitude. An input has one a call (``tensor``) or one a token (``row``), computed as it comes
(dynamic), or one a layer from the largest magnitude seen in calibration (static, `icd.transform.calibrate`);
what is larger is clipped. The executed layers round with the same functions.

Groups are consecutive columns of the weight as it is executed, so they depend on the layout.
"""

from __future__ import annotations

from typing import Literal, NoReturn

import torch
from torch import nn

from icd.errors import ConfigError
from icd.transform.calibrate import amax_of, replace_layers, replaceable

Scales = Literal["row", "tensor"]
LARGEST = {"fp8": 448.0, "int8": 127.0}
STORED = {"fp8": torch.float8_e4m3fn, "int8": torch.int8}


def scale_for(magnitude: torch.Tensor, format: str) -> torch.Tensor:
    """The float32 scale that brings ``magnitude`` to the format's largest value."""
    least = torch.finfo(torch.float32).tiny * LARGEST[format]
    return magnitude.float().clamp_min(least) / LARGEST[format]


def store(x: torch.Tensor, scale: torch.Tensor, format: str) -> torch.Tensor:
    """``x / scale`` in the format's values, clipped to its largest."""
    scaled = (x.float() / scale).clamp(-LARGEST[format], LARGEST[format])
    return (scaled.round() if format == "int8" else scaled).to(STORED[format])


def quantise(x: torch.Tensor, format: str, dim: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """``(values in the format, float32 scale)`` with ``x ~ values * scale``.

    ``dim`` is the dimension along which one scale holds, kept with length 1; None: one scale in all, ().
    """
    x = x.float()
    scale = scale_for(x.abs().amax() if dim is None else x.abs().amax(dim=dim, keepdim=True), format)
    return store(x, scale, format), scale


def quantise_input(
    x: torch.Tensor, format: str, scales: Scales, static: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values and scale of an input (..., in): by the layer's ``static`` scale () where it has one."""
    if static is not None:
        return store(x, static, format), static
    return quantise(x, format, dim=-1 if scales == "row" else None)


def spans(width: int, group: int | None) -> list[slice]:
    """Column groups of a weight of ``width`` input columns; the last may be short."""
    return [slice(k, k + (group or width)) for k in range(0, width, group or width)]


def quantise_weight(
    weight: torch.Tensor, format: str, group: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (out, in) and scales float32 (out, groups); one group where ``group`` is None."""
    parts = [quantise(weight[:, span], format, dim=1) for span in spans(weight.shape[1], group)]
    return torch.cat([values for values, _ in parts], 1), torch.cat([scale for _, scale in parts], 1)


def round_weight(weight: torch.Tensor, format: str, group: int | None = None) -> torch.Tensor:
    """``weight`` (out, in) rounded as `quantise_weight` does."""
    values, scale = quantise_weight(weight, format, group)
    sizes = [min(span.stop, weight.shape[1]) - span.start for span in spans(weight.shape[1], group)]
    columns = torch.repeat_interleave(scale, torch.tensor(sizes, device=scale.device), dim=1)  # (out, in)
    return (values.float() * columns).to(weight.dtype)


def round_to(x: torch.Tensor, format: str, dim: int | None) -> torch.Tensor:
    """``x`` rounded to ``format``, as `quantise` does."""
    values, scale = quantise(x, format, dim)
    return (values.float() * scale).to(x.dtype)


def static_scale(linear: nn.Linear, format: str, static: bool) -> torch.Tensor | None:
    """The layer's input scale () from calibration; None where scales are dynamic."""
    return scale_for(amax_of(linear), format) if static else None


class Called(nn.Module):
    """A layer in the place of a linear one that works by being called: its weight is in no common format."""

    format: str

    @property
    def weight(self) -> NoReturn:
        """Asked for by a forward that multiplies by itself, which then is not in this format: ConfigError."""
        raise ConfigError(
            f"precision={self.format}: the model's forward reads the weight of a linear layer instead of "
            "calling it (as torch's fused encoder layer does), so it cannot run in eight bits; use 16 or more"
        )


class RoundedLinear(Called):
    """``F.linear`` on rounded values; ``rounded`` (out, in) and bias as in the layer it stands for."""

    def __init__(
        self,
        linear: nn.Linear,
        format: str,
        scales: Scales = "row",
        group: int | None = None,
        static: bool = False,
    ) -> None:
        super().__init__()
        self.format, self.scales = format, scales
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.rounded = nn.Parameter(round_weight(linear.weight.detach(), format, group), requires_grad=False)
        self.bias = linear.bias
        self.register_buffer("input_scale", static_scale(linear, format, static))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        values, scale = quantise_input(input, self.format, self.scales, self.input_scale)
        return nn.functional.linear((values.float() * scale).to(input.dtype), self.rounded, self.bias)


def round_weights(module: nn.Module, format: str, group: int | None = None) -> None:
    """Round the weights of every linear layer below ``module``, in place."""
    for child in module.modules():
        if replaceable(child):
            weight = child.get_parameter("weight")
            weight.data = round_weight(weight.detach(), format, group)


def round_linears(
    module: nn.Module, format: str, scales: Scales = "row", group: int | None = None, static: bool = False
) -> tuple[nn.Module, dict[str, int]]:
    """``module``, its linear layers replaced in place by `RoundedLinear`, and how many are and are not."""
    return replace_layers(
        module,
        lambda linear: RoundedLinear(linear, format, scales, group, static),
        "float32",
        f"rounded to {format}",
    )
