"""The selective scan as a Triton kernel: one warp walks over time with the state of a few channels.

States lie along registers and channels along lanes, so that the recurrence needs no exchange between threads
and the sum over states at most a few shuffles. The rows of the next steps are fetched before those of the
current ones are used. Softplus, skip connection and gate are fused: u, dt, z and the result cross memory
once. Where channels are too few to fill the device, time is cut into segments: a first pass finds the state
at each segment's end, a second one starts every segment from what came before it.
`reference.scan` is the plain twin.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 8  # of a program, which is one warp
UNROLL = 8  # steps fetched at once
PROGRAMS = 512  # fewer than these do not fill the device
SEGMENTS, SHORTEST = 8, 128  # at most; steps of a segment at least

LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def _exp2(x, FLUSH: tl.constexpr):
    """2^x; on a GPU the hardware's own approximation (2 ulp), with denormal results flushed to 0."""
    if FLUSH:
        y = tl.inline_asm_elementwise(
            "ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    else:
        y = tl.exp2(x)
    return y


@triton.jit
def _softplus(x, FLUSH: tl.constexpr):
    """log(1 + e^x) to a relative error of 4e-7, also where it is small: there the steps of a model lie.

    max(x, 0) + log1p(e), e = exp(-|x|): log1p(e) / e as the polynomial of degree 7 that is best on [0, 1].
    """
    e = _exp2(-LOG2E * tl.abs(x), FLUSH)
    p = -0.008539180271327496 * e + 0.044089533388614655
    p = p * e - 0.10768157988786697
    p = p * e + 0.17745232582092285
    p = p * e - 0.24495460093021393
    p = p * e + 0.33275479078292847
    p = p * e - 0.4999740421772003
    p = p * e + 0.9999998211860657
    return tl.maximum(x, 0.0) + p * e


@triton.jit
def _rows(ptr, t, inside, ROW: tl.constexpr, LENGTH: tl.constexpr, UNROLL: tl.constexpr, WHOLE: tl.constexpr):
    """The rows of UNROLL steps from ``t`` on, as a tuple; zeros behind the end."""
    rows = ()
    for i in tl.static_range(UNROLL):
        if WHOLE:
            row = tl.load(ptr + (t + i).to(tl.int64) * ROW)
        else:
            row = tl.load(ptr + (t + i).to(tl.int64) * ROW, mask=inside & (t + i < LENGTH), other=0.0)
        rows = rows + (row,)  # type: ignore[assignment]  # noqa: RUF005 (Triton has no unpacking)
    return rows


@triton.jit
def _walk(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, y_ptr, end_ptr, sum_ptr,
    u_batch, dt_batch, b_batch, c_batch, z_batch,
    WIDTH: tl.constexpr, LENGTH: tl.constexpr, SEGMENT: tl.constexpr,
    U_ROW: tl.constexpr, DT_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr, Z_ROW: tl.constexpr,
    STATE: tl.constexpr, CHANNELS: tl.constexpr, UNROLL: tl.constexpr,
    ENDS: tl.constexpr, WHOLE: tl.constexpr, FLUSH: tl.constexpr,
):  # fmt: skip
    """One tile of channels of one segment of one sequence; innermost strides are 1.

    ``ENDS``: only the state at the segment's end, had it begun with none, and the sum of its steps.
    """
    batch = tl.program_id(1).to(tl.int64)
    segment = tl.program_id(2)
    tiles = tl.num_programs(0)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    state = tl.arange(0, STATE)
    inside = channel < WIDTH
    every = state < STATE
    decay = LOG2E * tl.load(
        a_ptr + channel[None, :] * STATE + state[:, None], mask=inside[None, :], other=0.0
    )  # (state, channels)
    skip = tl.load(d_ptr + channel, mask=inside, other=0.0)
    u_ptr += batch * u_batch + channel
    dt_ptr += batch * dt_batch + channel
    z_ptr += batch * z_batch + channel
    y_ptr += batch * LENGTH * WIDTH + channel
    b_ptr += batch * b_batch + state
    c_ptr += batch * c_batch + state
    lane = tl.arange(0, CHANNELS)
    slot = (batch * ((LENGTH + SEGMENT - 1) // SEGMENT)) * tiles + tl.program_id(0)  # of segment 0
    h = tl.zeros((STATE, CHANNELS), tl.float32)
    if not ENDS:
        for earlier in tl.static_range((LENGTH - 1) // SEGMENT):
            at = slot + earlier * tiles
            end = tl.load(end_ptr + at * STATE * CHANNELS + lane[None, :] * STATE + state[:, None])
            passed = tl.load(sum_ptr + at * CHANNELS + lane)
            h = tl.where(earlier < segment, _exp2(passed[None, :] * decay, FLUSH) * h + end, h)
    passed = tl.zeros((CHANNELS,), tl.float32)
    begin = segment * SEGMENT
    us = _rows(u_ptr, begin, inside, U_ROW, LENGTH, UNROLL, WHOLE)
    dts = _rows(dt_ptr, begin, inside, DT_ROW, LENGTH, UNROLL, WHOLE)
    bs = _rows(b_ptr, begin, every, B_ROW, LENGTH, UNROLL, WHOLE)
    if not ENDS:
        zs = _rows(z_ptr, begin, inside, Z_ROW, LENGTH, UNROLL, WHOLE)
        cs = _rows(c_ptr, begin, every, C_ROW, LENGTH, UNROLL, WHOLE)
    for step in range(0, SEGMENT, UNROLL):
        first = begin + step
        ahead = begin + (step + UNROLL) % SEGMENT  # the last fetch is not used
        next_us = _rows(u_ptr, ahead, inside, U_ROW, LENGTH, UNROLL, WHOLE)
        next_dts = _rows(dt_ptr, ahead, inside, DT_ROW, LENGTH, UNROLL, WHOLE)
        next_bs = _rows(b_ptr, ahead, every, B_ROW, LENGTH, UNROLL, WHOLE)
        if not ENDS:
            next_zs = _rows(z_ptr, ahead, inside, Z_ROW, LENGTH, UNROLL, WHOLE)
            next_cs = _rows(c_ptr, ahead, every, C_ROW, LENGTH, UNROLL, WHOLE)
        for i in tl.static_range(UNROLL):
            u = us[i].to(tl.float32)
            delta = _softplus(dts[i].to(tl.float32), FLUSH)
            if not WHOLE:
                delta = tl.where(
                    first + i < LENGTH, delta, 0.0
                )  # a step of no length leaves the state as it is
            into = bs[i].to(tl.float32)
            h = _exp2(delta[None, :] * decay, FLUSH) * h + (delta * u)[None, :] * into[:, None]
            if ENDS:
                passed += delta
            else:
                z = zs[i].to(tl.float32)
                y = tl.sum(h * cs[i].to(tl.float32)[:, None], 0) + skip * u
                y = y * (z / (1.0 + _exp2(-LOG2E * z, FLUSH)))
                where = y_ptr + (first + i).to(tl.int64) * WIDTH
                if WHOLE:
                    tl.store(where, y.to(y_ptr.dtype.element_ty))
                else:
                    tl.store(where, y.to(y_ptr.dtype.element_ty), mask=inside & (first + i < LENGTH))
        us, dts, bs = next_us, next_dts, next_bs
        if not ENDS:
            zs, cs = next_zs, next_cs
    if ENDS:
        at = slot + segment * tiles
        tl.store(end_ptr + at * STATE * CHANNELS + lane[None, :] * STATE + state[:, None], h)
        tl.store(sum_ptr + at * CHANNELS + lane, passed)


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
    tiles, unroll = triton.cdiv(width, CHANNELS), min(UNROLL, length)
    parts = segments(tiles * batch, length)
    steps = triton.cdiv(triton.cdiv(length, parts), unroll) * unroll
    parts = triton.cdiv(length, steps)
    ends = u.new_empty((batch, parts, tiles, state, CHANNELS), dtype=torch.float32)
    sums = u.new_empty((batch, parts, tiles, CHANNELS), dtype=torch.float32)
    given = (u, dt, B, C, z)
    for only_ends in (True, False) if parts > 1 else (False,):
        _walk[(tiles, batch, parts - only_ends)](
            u, dt, A, B, C, D, z, y, ends, sums, *(x.stride(0) for x in given),
            WIDTH=width, LENGTH=length, SEGMENT=steps,
            U_ROW=u.stride(1), DT_ROW=dt.stride(1), B_ROW=B.stride(1), C_ROW=C.stride(1), Z_ROW=z.stride(1),
            STATE=state, CHANNELS=CHANNELS, UNROLL=unroll,
            ENDS=only_ends, WHOLE=width % CHANNELS == 0 and length % steps == 0,
            FLUSH=u.is_cuda and torch.version.hip is None, num_warps=1,
        )  # fmt: skip
    return y


def segments(programs: int, length: int) -> int:
    """Into how many pieces time is cut: 1 where ``programs`` fill the device."""
    if programs >= PROGRAMS:
        return 1
    return max(1, min(triton.cdiv(PROGRAMS, programs), SEGMENTS, length // SHORTEST))


@scan.register_fake
def _(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    return u.new_empty(u.shape)
