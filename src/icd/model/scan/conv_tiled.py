"""`icd.model.scan.conv.causal_conv` as one Triton kernel; sums in float32."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 128  # channels of a program
STEPS = 32  # time steps of a program


@triton.jit
def _kernel(
    x_ptr, w_ptr, bias_ptr, y_ptr,
    length, width, x_batch, x_row,
    TAPS: tl.constexpr, BIAS: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """One tile (steps, channels) of one sequence; innermost strides are 1."""
    batch = tl.program_id(2).to(tl.int64)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    first = tl.program_id(1) * STEPS
    step = tl.arange(0, STEPS)
    t = first + step
    x_ptr += batch * x_batch + first.to(tl.int64) * x_row  # 32 bits do not count a long sequence
    y_ptr += (batch * length + first) * width
    inside = channel < width
    out = tl.zeros((STEPS, CHANNELS), tl.float32)
    if BIAS:
        out += tl.load(bias_ptr + channel, mask=inside, other=0.0).to(tl.float32)[None, :]
    for k in tl.static_range(TAPS):
        back = k - (TAPS - 1)
        mask = ((t + back >= 0) & (t + back < length))[:, None] & inside[None, :]
        x = tl.load(x_ptr + (step + back)[:, None] * x_row + channel[None, :], mask=mask, other=0.0)
        tap = tl.load(w_ptr + channel * TAPS + k, mask=inside, other=0.0)
        out += x.to(tl.float32) * tap.to(tl.float32)[None, :]
    out = out / (1.0 + tl.exp(-out))
    where = y_ptr + step[:, None] * width + channel[None, :]
    tl.store(where, out.to(y_ptr.dtype.element_ty), mask=(t < length)[:, None] & inside[None, :])


@torch.library.custom_op("icd::causal_conv_tiled", mutates_args=())
def causal_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Shapes as in the plain twin; a view with contiguous rows is read where it is."""
    batch, length, width = x.shape
    x = x if x.stride(-1) == 1 else x.contiguous()
    weight = weight.contiguous()
    y = x.new_empty(batch, length, width)
    _kernel[(triton.cdiv(width, CHANNELS), triton.cdiv(length, STEPS), batch)](
        x, weight, bias, y,
        length, width, x.stride(0), x.stride(1),
        TAPS=weight.shape[-1], BIAS=bias is not None, CHANNELS=CHANNELS, STEPS=STEPS, num_warps=4,
    )  # fmt: skip
    return y


@causal_conv.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape)
