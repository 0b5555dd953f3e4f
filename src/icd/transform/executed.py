"""Linear layers that compute in eight bits: fp8 and int8 on CUDA, torch's dynamic int8 on the CPU.

On CUDA weights and inputs are rounded by `icd.transform.rounding.quantise`, multiplied by a library
kernel and scaled back; nothing in a forward waits for a value, so layers compile as one graph and can be
captured:

    fp8     ``torch._scaled_mm``, e4m3 by e4m3, scales inside the kernel
    int8    ``torch._int_mm``, int8 by int8 to int32, scales behind it

Both run on the CPU as well, where tests compare them with the rounded layers. A weight whose sides are no
multiples of 16 is refused by the kernels: its layer stays in bf16, and the count of layers says so.
"""

from __future__ import annotations

import warnings
from collections import Counter

import torch
from torch import nn

from icd.transform.rounding import Scales, quantise

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


class EightBitLinear(nn.Module):
    """``x W' + bias`` with W (out, in) and x rounded to ``format``; output in ``dtype``.

    Holds as buffers ``weight`` (out, in) in the format, ``scale`` float32 (1, out), and ``bias`` (out,).
    """

    def __init__(self, linear: nn.Linear, format: str, scales: Scales, dtype: torch.dtype) -> None:
        super().__init__()
        self.format, self.dtype = format, dtype
        self.per_token = scales == "row"
        self.in_features, self.out_features = linear.in_features, linear.out_features
        values, scale = quantise(linear.weight.detach(), format, dim=1)
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale.reshape(1, -1))
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().to(dtype))
        self.register_buffer("one", torch.ones((), device=scale.device))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out)."""
        rows = x.reshape(-1, self.in_features)
        values, scale = quantise(rows, self.format, dim=-1 if self.per_token else None)
        product = self._fp8 if self.format == "fp8" else self._int8
        return product(values, scale).reshape(*x.shape[:-1], self.out_features)

    def _fp8(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """(rows, in) fp8 and its scale to (rows, out): row-wise scales go into the kernel, else behind it."""
        if self.per_token:
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

    def _int8(self, values: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """(rows, in) int8 and its scale to (rows, out)."""
        rows = values.shape[0]
        if rows <= 16:
            values = nn.functional.pad(values, (0, 0, 0, LEAST_ROWS - rows))
        out = torch._int_mm(values, self.weight.t())[:rows]
        return self._scaled(out.float() * scale * self.scale)

    def _scaled(self, out: torch.Tensor) -> torch.Tensor:
        return (out if self.bias is None else out + self.bias.float()).to(self.dtype)


class DynamicInt8Linear(nn.Module):
    """torch's dynamic int8 on the CPU: weights one scale a row, inputs one a call; float32 out."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight = linear.weight.detach().float()
        scale = quantise(weight, "int8", dim=1)[1].reshape(-1).double()
        zero = torch.zeros(len(scale), dtype=torch.long)
        with warnings.catch_warnings():  # the tensor type is to go one day; the kernel takes nothing else
            warnings.simplefilter("ignore")
            values = torch.quantize_per_channel(weight, scale, zero, 0, torch.qint8)
            bias = None if linear.bias is None else linear.bias.detach().float()
            self.packed = torch.ops.quantized.linear_prepack(values, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., in) float32 to (..., out); ``reduce_range`` keeps sums from saturating without VNNI."""
        return torch.ops.quantized.linear_dynamic(x, self.packed, reduce_range=True)


def on_cuda(
    module: nn.Module, format: str, scales: Scales, dtype: torch.dtype
) -> tuple[nn.Module, dict[str, int]]:
    """``module`` (float32, changed in place) in ``dtype`` with its linear layers in ``format``."""
    made = {
        name: EightBitLinear(child, format, scales, dtype)
        for name, child in module.named_modules()
        if isinstance(child, nn.Linear)
        and not (child.in_features % MULTIPLE or child.out_features % MULTIPLE)
    }
    module = module.to(dtype=dtype)  # rounded from float32 above, and out of this conversion's reach
    kept = str(dtype).removeprefix("torch.")
    return _place(module, made, KERNELS[format], kept)


def on_cpu(module: nn.Module) -> tuple[nn.Module, dict[str, int]]:
    """``module`` (float32, on the CPU, changed in place) with its linear layers in dynamic int8."""
    made = {n: DynamicInt8Linear(m) for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    return _place(module, made, f"quantized::linear_dynamic ({engine()})", "float32")


def _place(
    module: nn.Module, made: dict[str, nn.Module], kernel: str, kept: str
) -> tuple[nn.Module, dict[str, int]]:
    """Put the layers in place; how many linear layers run which kernel."""
    linears = [name for name, child in module.named_modules() if isinstance(child, nn.Linear)]
    counts = Counter(kernel if name in made else kept for name in linears)
    for name, layer in made.items():
        owner, _, last = name.rpartition(".")
        setattr(module.get_submodule(owner), last, layer)
    return module, dict(counts)
