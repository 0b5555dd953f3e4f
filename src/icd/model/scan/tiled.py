"""The selective scan as one Triton kernel: a program owns a tile of channels of one sequence.

It walks over time in chunks. Inside a chunk the recurrence ``h_t = a_t h_{t-1} + x_t`` is an associative
scan over pairs ``(a, x)``; the state at a chunk's end enters the next one. Softplus, skip connection and
gate are fused, so u, dt, z and the result cross memory once. ``reference.scan`` is the plain twin.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# channels of a program, time steps of a chunk, warps: the fastest of nine to 28 choices on an H200
WIDE = (8, 32, 4)
NARROW = (2, 64, 2)  # a long sequence with too few channels to fill the device otherwise
FEW, LONG = 264, 1024  # programs; time steps


@triton.jit
def _after(a_first, x_first, a_then, x_then):
    """Two updates of the state as one: first ``h -> a_first h + x_first``, then the other."""
    return a_first * a_then, a_then * x_first + x_then


@triton.jit
def _kernel(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, y_ptr,
    width,
    u_batch, u_row, dt_batch, dt_row, b_batch, b_row, c_batch, c_row, z_batch, z_row,
    LENGTH: tl.constexpr, STATE: tl.constexpr, CHANNELS: tl.constexpr, STEPS: tl.constexpr,
):  # fmt: skip
    """One tile of channels of one sequence; innermost strides are 1."""
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    state = tl.arange(0, STATE)
    step = tl.arange(0, STEPS)
    inside = channel < width
    decay = tl.load(
        a_ptr + channel[:, None] * STATE + state[None, :], mask=inside[:, None], other=0.0
    )  # (channels, state)
    skip = tl.load(d_ptr + channel, mask=inside, other=0.0)
    carry = tl.zeros((CHANNELS, STATE), tl.float32)
    for first in range(0, LENGTH, STEPS):
        t = first + step
        alive = t < LENGTH
        mask = alive[:, None] & inside[None, :]
        u = tl.load(u_ptr + batch * u_batch + t[:, None] * u_row + channel[None, :], mask=mask, other=0.0).to(
            tl.float32
        )
        dt = tl.load(
            dt_ptr + batch * dt_batch + t[:, None] * dt_row + channel[None, :], mask=mask, other=0.0
        ).to(tl.float32)
        z = tl.load(z_ptr + batch * z_batch + t[:, None] * z_row + channel[None, :], mask=mask, other=0.0).to(
            tl.float32
        )
        into = tl.load(
            b_ptr + batch * b_batch + t[:, None] * b_row + state[None, :], mask=alive[:, None], other=0.0
        ).to(tl.float32)
        out_of = tl.load(
            c_ptr + batch * c_batch + t[:, None] * c_row + state[None, :], mask=alive[:, None], other=0.0
        ).to(tl.float32)
        delta = tl.where(dt > 20.0, dt, tl.log(1.0 + tl.exp(tl.minimum(dt, 20.0))))
        delta = tl.where(mask, delta, 0.0)  # a step of no length leaves the state as it is
        a = tl.exp(delta[:, :, None] * decay[None, :, :])  # (steps, channels, state)
        x = (delta * u)[:, :, None] * into[:, None, :]
        a_upto, x_upto = tl.associative_scan((a, x), 0, _after)
        h = a_upto * carry[None, :, :] + x_upto
        y = tl.sum(h * out_of[:, None, :], 2) + skip[None, :] * u
        y = y * z / (1.0 + tl.exp(-z))
        carry = tl.sum(tl.where((step == STEPS - 1)[:, None, None], h, 0.0), 0)
        where = y_ptr + (batch * LENGTH + t[:, None]) * width + channel[None, :]
        tl.store(where, y.to(y_ptr.dtype.element_ty), mask=mask)


@torch.library.custom_op("icd::selective_scan_tiled", mutates_args=())
def scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`; n must be a power of two.

    Opaque to torch.compile, so that it does not break graphs; no synchronisation, so that it can be
    captured. Views with contiguous rows (halves of a fused projection) are read where they are.
    """
    batch, length, width = u.shape
    state = A.shape[1]
    if state & (state - 1):
        raise ValueError(f"the Triton scan needs a state size that is a power of two, got {state}")
    u, dt, B, C, z = (x if x.stride(-1) == 1 else x.contiguous() for x in (u, dt, B, C, z))
    A, D = A.float().contiguous(), D.float().contiguous()
    y = u.new_empty(batch, length, width)
    few = triton.cdiv(width, WIDE[0]) * batch <= FEW
    channels, steps, warps = NARROW if few and length >= LONG else WIDE
    steps = min(steps, triton.next_power_of_2(length))
    _kernel[(triton.cdiv(width, channels), batch)](
        u, dt, A, B, C, D, z, y,
        width,
        *(stride for x in (u, dt, B, C, z) for stride in x.stride()[:2]),
        LENGTH=length, STATE=state, CHANNELS=channels, STEPS=steps, num_warps=warps,
    )  # fmt: skip
    return y


@scan.register_fake
def _(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    return u.new_empty(u.shape)
