"""Linear layers that compute in eight bits: fp8 and int8 on CUDA, torch's dynamic int8 on the CPU.

On CUDA weights and inputs are rounded by `icd.transform.rounding`, multiplied by a library
kernel and scaled back; nothing in a forward waits for a value, so layers compile as one graph and can be
captured:

    fp8     ``torch._scaled_mm``, e4m3 by e4m3, scales inside the kernel
    int8    ``torch._int_mm``, int8 by int8 to int32, scales behind it

Weights with a scale a row and group of columns take one product a group, summed in float32. Both kernels
run on the CPU as well, where tests compare them with the rounded layers, and where ``_int_mm`` executes what
torch's dynamic int8 does not know: static scales and groups. A weight whose sides are no
multiples of 16 is refused by the kernels: its layer stays in bf16, and the count of layers says so.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import nn

from icd.transform.calibrate import linear_layers, replace_layers, replaceable
from icd.transform.rounding import (
    Called,
    Scales,
    quantise,
    quantise_input,
    quantise_weight,
    spans,
    static_scale,
)

MULTIPLE = 16  # of both sides of a weight, as the kernels ask for
LEAST_ROWS = 32  # _int_mm wants more than 16 rows; fewer are padded to this
KERNELS = {"fp8": "torch._scaled_mm", "int8": "torch._int_mm"}


def engine() -> str:
    """torch's engine of quantized kernels on the CPU; ``none`` where it was built without."""
    return str(torch.backends.quantized.engine)


def obstacle(format: str, device: str) -> str:
    """Why ``format`` cannot be executed on ``device``; empty where it can."""
    if device.startswith("cuda"):
        need = {"fp8": (8, 9), "int8": (8, 0)}[format]
        found = torch.cuda.get_device_capability(device)
        if found < need:
            return f"{KERNELS[format]} needs compute capability {need[0]}.{need[1]}, {device} has {found}"
        return "" if hasattr(torch, KERNELS[format].partition(".")[2]) else f"no {KERNELS[format]} in torch"
    if format == "fp8":
        return "CPUs multiply no fp8"
    return "" if engine() != "none" else "torch was built without a quantized engine"


def unfit(module: nn.Module, any_width: bool) -> str:
    """Why no layer of ``module`` can run in eight bits; empty where one can.

    ``any_width``: of torch's own dynamic int8, which takes layers that the other kernels refuse.
    """
    layers = linear_layers(module).values()
    if not layers:
        return "the model has no linear layer"
    own = [layer for layer in layers if replaceable(layer)]
    if not own:
        return "all linear layers of the model are of classes made of torch's, which compute otherwise"
    if not any_width and not any(fits(layer) for layer in own):
        return f"no linear layer of the model has an input and an output width that {MULTIPLE} divides"
    return ""


def fits(layer: nn.Linear) -> bool:
    """Whether the eight-bit kernels take a layer's widths."""
    return not (layer.in_features % MULTIPLE or layer.out_features % MULTIPLE)


class EightBitLinear(nn.Module):
    """``x W' + bias`` with W (out, in) and x rounded to ``format``; output in ``dtype``.

    Holds as buffers ``weight`` (out, in) in the format, ``scale`` float32 (groups, out), ``bias`` (out,) and
    ``input_scale``, () or None. With several groups ``weight`` is None and ``weight_0``, ... hold the columns
    of each, contiguous as the kernels ask for.
    """

    def __init__(
        self,
        linear: nn.Linear,
        format: str,
        scales: Scales,
        dtype: torch.dtype,
        group: int | None = None,
        static: bool = False,
    ) -> None:
        super().__init__()
        self.format, self.dtype, self.scales = format, dtype, scales
        self.in_features, self.out_features = linear.in_features, linear.out_features
        values, scale = quantise_weight(linear.weight.detach(), format, group)
        self.spans = spans(linear.in_features, group)
        split = len(self.spans) > 1
        self.register_buffer("weight", None if split else values)
        for k, span in enumerate(self.spans if split else ()):
            self.register_buffer(f"weight_{k}", values[:, span].contiguous())
        self.register_buffer("scale", scale.t().contiguous())
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(dtype))
        self.register_buffer("input_scale", static_scale(linear, format, static))
        self.register_buffer("one", torch.ones((), device=scale.device))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out); called as torch calls its own, by keyword too."""
        rows = input.reshape(-1, self.in_features)
        values, scale = quantise_input(rows, self.format, self.scales, self.input_scale)
        if len(self.spans) > 1:
            out = self._groups(values, scale)
        elif self.format == "fp8":
            out = self._fp8(values, scale)
        else:
            out = self._scaled(self._int8(values, self.weight) * scale * self.scale)
        return out.reshape(*input.shape[:-1], self.out_features)

    def _groups(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """One product a column group, each by its own weight scales, summed in float32."""
        out = torch.zeros((), device=values.device)
        for k, span in enumerate(self.spans):
            part, weight = values[:, span].contiguous(), self.get_buffer(f"weight_{k}")
            if self.format == "fp8":
                product = torch._scaled_mm(
                    part, weight.t(), scale_a=self.one, scale_b=self.one, out_dtype=torch.float32
                )
            else:
                product = self._int8(part, weight)
            out = out + product * self.scale[k]
        return self._scaled(out * scale)

    def _fp8(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """(rows, in) fp8 and its scale to (rows, out): row-wise scales go into the kernel, else behind it."""
        if scale.ndim:
            return torch._scaled_mm(
                values,
                self.weight.t(),
                scale_a=scale,
                scale_b=self.scale,
                bias=self.bias,
                out_dtype=self.dtype,
                use_fast_accum=True,
            )
        out = torch._scaled_mm(
            values,
            self.weight.t(),
            scale_a=scale,
            scale_b=self.one,
            out_dtype=self.dtype,
            use_fast_accum=True,
        )
        return self._scaled(out.float() * self.scale)

    def _int8(self, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """(rows, k) int8 by (out, k) to float32 (rows, out), unscaled."""
        rows = values.shape[0]
        if rows <= 16:
            values = nn.functional.pad(values, (0, 0, 0, LEAST_ROWS - rows))
        return torch._int_mm(values, weight.t())[:rows].float()

    def _scaled(self, out: torch.Tensor) -> torch.Tensor:
        return (out if self.bias is None else out + self.bias.float()).to(self.dtype)


@cache
def saturates() -> bool:
    """Whether the CPU's kernel adds two products in 16 bits, as those without VNNI do: found by trying.

    Inputs then keep to seven bits, as torch's own layers always do.
    """
    ones = torch.ones(32, 64)
    out = torch.ops.quantized.linear_dynamic(ones, packed(ones, None), reduce_range=False)
    return bool((out - ones.sum(1)).abs().max() > 1)  # 64 times 255 by 127


def packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Any:
    """``weight`` (out, in) in int8, one scale a row, as torch's dynamic int8 takes it."""
    scale = quantise(weight, "int8", dim=1)[1].reshape(-1).double()  # it reads nothing but doubles
    zero = torch.zeros(len(scale), dtype=torch.long)
    with warnings.catch_warnings():  # the tensor type is to go one day; the kernel takes nothing else
        warnings.simplefilter("ignore")
        values = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(values, bias)


class DynamicInt8Linear(Called):
    """torch's dynamic int8 on the CPU: weights one scale a row, inputs one a call; float32 out."""

    format = "int8"

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.seven_bits = saturates()
        bias = None if linear.bias is None else linear.bias.detach().float()
        self.packed = packed(linear.weight.detach().float(), bias)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(..., in) float32 to (..., out)."""
        return torch.ops.quantized.linear_dynamic(input, self.packed, reduce_range=self.seven_bits)


def on_cuda(
    module: nn.Module,
    format: str,
    scales: Scales,
    dtype: torch.dtype,
    group: int | None = None,
    static: bool = False,
) -> tuple[nn.Module, dict[str, int]]:
    """``module`` (float32, changed in place) in ``dtype`` with its linear layers in ``format``."""

    def make(layer: nn.Linear) -> nn.Module | None:
        if not fits(layer):
            return None
        return EightBitLinear(layer, format, scales, dtype, group, static)

    made: dict[nn.Module, nn.Module | None] = {
        layer: make(layer) for layer in linear_layers(module).values() if replaceable(layer)
    }
    module = module.to(dtype=dtype)  # rounded from float32 above, and out of this conversion's reach
    return replace_layers(
        module, lambda layer: made[layer], str(dtype).removeprefix("torch."), KERNELS[format]
    )


def on_cpu(
    module: nn.Module, scales: Scales = "tensor", group: int | None = None, static: bool = False
) -> tuple[nn.Module, dict[str, int]]:
    """``module`` (float32, on the CPU, changed in place) with its linear layers in int8.

    Plain dynamic scales run torch's own dynamic int8, which has one input scale a call whatever ``scales``
    says; groups and static scales run `EightBitLinear`.
    """
    if group is not None or static:
        return on_cuda(module, "int8", scales, torch.float32, group, static)
    bits = ", 7-bit inputs" if saturates() else ""
    return replace_layers(
        module, DynamicInt8Linear, "float32", f"quantized::linear_dynamic ({engine()}{bits})"
    )
