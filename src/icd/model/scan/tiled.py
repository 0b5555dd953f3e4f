"""The selective scan as one Triton kernel: a program owns a few channels of one sequence.

Time is walked in chunks of LANES x STEPS: each lane (a thread) takes STEPS consecutive steps. For one
element of the state at a time, a lane runs through its steps, the lanes' ends are joined by an associative
scan over pairs ``(decay, state)``, and every lane runs through its steps once more from the state that the
lane before it left. So the scan over lanes is paid once for STEPS steps. The state at the chunk's end
travels to the next chunk in the first lane. Softplus, skip connection and gate are fused: u, dt, z and the
result cross memory once. ``reference.scan`` is the plain twin.
"""

# ruff: noqa: RUF005 - Triton's language knows no starred tuples
# mypy: disable-error-code="assignment"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 4  # channels of a program
STEPS = 8  # consecutive time steps of a lane, at most
LANES = 32  # of a warp, which a program is
LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def _after(a_first, x_first, a_then, x_then):
    """Two updates of the state as one: first ``h -> a_first h + x_first``, then the other."""
    return a_first * a_then, a_then * x_first + x_then


@triton.jit
def _kernel(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, y_ptr,
    width,
    u_batch, u_row, dt_batch, dt_row, b_batch, b_row, c_batch, c_row, z_batch, z_row,
    LENGTH: tl.constexpr, STATE: tl.constexpr,
    CHANNELS: tl.constexpr, STEPS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """A few channels of one sequence; innermost strides are 1. Tensors are (channels, lanes)."""
    batch = tl.program_id(1).to(tl.int64)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    lane = tl.arange(0, LANES)
    inside = channel < width
    u_at, dt_at = u_ptr + batch * u_batch + channel[:, None], dt_ptr + batch * dt_batch + channel[:, None]
    z_at, y_at = z_ptr + batch * z_batch + channel[:, None], y_ptr + batch * LENGTH * width + channel[:, None]
    b_at, c_at = b_ptr + batch * b_batch, c_ptr + batch * c_batch
    skip = tl.load(d_ptr + channel, mask=inside, other=0.0)
    front = (lane == 0)[None, :]
    before = ((lane + LANES - 1) % LANES)[None, :] + tl.zeros((CHANNELS, LANES), tl.int32)
    carry = ()  # one tensor an element of the state: what it was before the chunk, in the first lane
    for _n in tl.static_range(STATE):
        carry = carry + (tl.zeros((CHANNELS, LANES), tl.float32),)
    for first in range(0, LENGTH, LANES * STEPS):
        delta = ()
        fed = ()
        y = ()
        total = tl.zeros((CHANNELS, LANES), tl.float32)
        for k in tl.static_range(STEPS):
            t = first + lane * STEPS + k
            mask = inside[:, None] & (t < LENGTH)[None, :]
            u = tl.load(u_at + t[None, :] * u_row, mask=mask, other=0.0).to(tl.float32)
            dt = tl.load(dt_at + t[None, :] * dt_row, mask=mask, other=0.0).to(tl.float32)
            size = tl.where(dt > 20.0, dt, tl.log(1.0 + tl.exp(tl.minimum(dt, 20.0))))
            size = tl.where(mask, size, 0.0)  # a step of no length leaves the state as it is
            total += size
            delta = delta + (size,)
            fed = fed + (size * u,)
            y = y + (skip[:, None] * u,)
        following = ()
        for n in tl.static_range(STATE):
            rate = tl.load(a_ptr + channel * STATE + n, mask=inside, other=0.0)[:, None] * LOG2_E
            h = tl.where(front, carry[n], 0.0)
            a = ()
            x = ()
            for k in tl.static_range(STEPS):
                t = first + lane * STEPS + k
                into = tl.load(b_at + t * b_row + n, mask=t < LENGTH, other=0.0).to(tl.float32)
                a = a + (tl.exp2(delta[k] * rate),)
                x = x + (fed[k] * into[None, :],)
                h = a[k] * h + x[k]
            _, ends = tl.associative_scan((tl.exp2(total * rate), h), 1, _after)
            begun = tl.gather(ends, before, 1)  # the first lane gets the last one's: the next chunk's
            following = following + (begun,)
            h = tl.where(front, carry[n], begun)
            more = ()
            for k in tl.static_range(STEPS):
                t = first + lane * STEPS + k
                out_of = tl.load(c_at + t * c_row + n, mask=t < LENGTH, other=0.0).to(tl.float32)
                h = a[k] * h + x[k]
                more = more + (y[k] + h * out_of[None, :],)
            y = more
        carry = following
        for k in tl.static_range(STEPS):
            t = first + lane * STEPS + k
            mask = inside[:, None] & (t < LENGTH)[None, :]
            z = tl.load(z_at + t[None, :] * z_row, mask=mask, other=0.0).to(tl.float32)
            gated = y[k] * z / (1.0 + tl.exp(-z))
            tl.store(y_at + t[None, :] * width, gated.to(y_ptr.dtype.element_ty), mask=mask)


@torch.library.custom_op("icd::selective_scan_tiled", mutates_args=())
def scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`.

    Opaque to torch.compile, so that it does not break graphs; no synchronisation, so that it can be
    captured. Views with contiguous rows (halves of a fused projection) are read where they are.
    """
    batch, length, width = u.shape
    u, dt, B, C, z = (x if x.stride(-1) == 1 else x.contiguous() for x in (u, dt, B, C, z))
    A, D = A.float().contiguous(), D.float().contiguous()
    y = u.new_empty(batch, length, width)
    steps = min(STEPS, triton.next_power_of_2(triton.cdiv(length, LANES)))
    _kernel[(triton.cdiv(width, CHANNELS), batch)](
        u, dt, A, B, C, D, z, y,
        width,
        *(stride for x in (u, dt, B, C, z) for stride in x.stride()[:2]),
        LENGTH=length, STATE=A.shape[1], CHANNELS=CHANNELS, STEPS=steps, LANES=LANES, num_warps=1,
    )  # fmt: skip
    return y


@scan.register_fake
def _(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    return u.new_empty(u.shape)
