"""The selective scan as a Triton kernel: a lane owns a channel and walks over time, its states in registers.

So neither the recurrence nor the sum over states needs an exchange between threads, and what is the same for
all states of a channel (softplus, skip connection, gate) is computed once. What is the same for all
channels, a step's B and C, is fetched as words of several values. The rows of the next steps are fetched
before those of the current ones are used; u, dt, z and the result cross memory once. Channels alone do not
fill a device, so time is cut into segments: a first pass finds the state at each segment's end, had it begun
with none; a second one starts every segment from what came before it. `reference.scan` is the plain twin.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

CHANNELS = 32  # of a program, which is one warp
UNROLL = 2  # steps fetched at once, while as many are computed
PROGRAMS = 2048  # that fill the device
SHORTEST = 32  # steps of a segment at least
WORD = 8  # bytes of B and C fetched at once

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
def _fetch(
    u_ptr, dt_ptr, b_ptr, c_ptr, z_ptr, t, inside, anchor,
    LENGTH: tl.constexpr, U_ROW: tl.constexpr, DT_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
    Z_ROW: tl.constexpr, WORDS: tl.constexpr, UNROLL: tl.constexpr, ENDS: tl.constexpr, WHOLE: tl.constexpr,
):  # fmt: skip
    """The rows of UNROLL steps from ``t`` on, as a flat tuple; zeros behind the end.

    u, dt, z a step, one value a lane; then WORDS words of B and of C a step, which all lanes share.
    """
    rows = ()
    words = ()
    for i in tl.static_range(UNROLL):
        at = (t + i).to(tl.int64)
        here = inside & (t + i < LENGTH)
        if WHOLE:
            u, dt = tl.load(u_ptr + at * U_ROW), tl.load(dt_ptr + at * DT_ROW)
            z = u if ENDS else tl.load(z_ptr + at * Z_ROW)
        else:
            u = tl.load(u_ptr + at * U_ROW, mask=here, other=0.0)
            dt = tl.load(dt_ptr + at * DT_ROW, mask=here, other=0.0)
            z = u if ENDS else tl.load(z_ptr + at * Z_ROW, mask=here, other=0.0)
        rows = rows + (u, dt, z)  # type: ignore[assignment]  # noqa: RUF005 (Triton has no unpacking)
        for k in tl.static_range(WORDS):
            if WHOLE:
                b = tl.load(b_ptr + at * B_ROW + k + anchor)
                c = b if ENDS else tl.load(c_ptr + at * C_ROW + k + anchor)
            else:
                b = tl.load(b_ptr + at * B_ROW + k + anchor, mask=here, other=0)
                c = b if ENDS else tl.load(c_ptr + at * C_ROW + k + anchor, mask=here, other=0)
            words = words + (b, c)  # type: ignore[assignment]  # noqa: RUF005
    return rows + words


@triton.jit
def _value(word, k: tl.constexpr, TYPE: tl.constexpr):
    """Value ``k`` of a word that holds several, little end first, as float32."""
    if word.dtype == TYPE:
        value = word.to(tl.float32)
    else:
        half = (word >> (32 * (k // (32 // TYPE.primitive_bitwidth)))).to(tl.int32)
        if TYPE.primitive_bitwidth == 32:
            value = half.to(TYPE, bitcast=True)
        elif TYPE == tl.bfloat16:  # the upper half of a float32
            value = (half & -65536 if k % 2 else half << 16).to(tl.float32, bitcast=True)
        else:
            value = (half >> (16 * (k % 2))).to(tl.int16).to(TYPE, bitcast=True).to(tl.float32)
    return value


@triton.jit
def _steps(
    h, passed, rows, t, y_ptr, decay, skip, inside, b_type: tl.constexpr, c_type: tl.constexpr,
    WIDTH: tl.constexpr, LENGTH: tl.constexpr, STATE: tl.constexpr, PER: tl.constexpr, UNROLL: tl.constexpr,
    ENDS: tl.constexpr, WHOLE: tl.constexpr, FLUSH: tl.constexpr,
):  # fmt: skip
    """UNROLL steps on what `_fetch` brought: the states after them, and the sum of steps."""
    WORDS: tl.constexpr = STATE // PER
    for i in tl.static_range(UNROLL):
        u = rows[3 * i].to(tl.float32)
        delta = _softplus(rows[3 * i + 1].to(tl.float32), FLUSH)
        if not WHOLE:
            # a step of no length leaves the state as it is
            delta = tl.where(t + i < LENGTH, delta, 0.0)
        driven = delta * u
        even = skip * u
        odd = driven * 0.0
        later = ()
        for n in tl.static_range(STATE):
            into = _value(rows[3 * UNROLL + 2 * (i * WORDS + n // PER)], n % PER, b_type)
            now = _exp2(delta * decay[n], FLUSH) * h[n] + driven * into
            later = later + (now,)  # type: ignore[assignment]  # noqa: RUF005
            if not ENDS:
                out_of = _value(rows[3 * UNROLL + 2 * (i * WORDS + n // PER) + 1], n % PER, c_type)
                if n == 1:
                    odd = now * out_of
                elif n % 2:
                    odd += now * out_of
                else:
                    even += now * out_of
        h = later
        if ENDS:
            passed += delta
        else:
            z = rows[3 * i + 2].to(tl.float32)
            y = (even + odd) * (z / (1.0 + _exp2(-LOG2E * z, FLUSH)))
            where = y_ptr + (t + i).to(tl.int64) * WIDTH
            if WHOLE:
                tl.store(where, y.to(y_ptr.dtype.element_ty))
            else:
                tl.store(where, y.to(y_ptr.dtype.element_ty), mask=inside & (t + i < LENGTH))
    return h, passed


@triton.jit
def _walk(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, z_ptr, y_ptr, end_ptr, sum_ptr,
    u_batch, dt_batch, b_batch, c_batch, z_batch, zero,
    WIDTH: tl.constexpr, LENGTH: tl.constexpr, SEGMENT: tl.constexpr,
    U_ROW: tl.constexpr, DT_ROW: tl.constexpr, B_ROW: tl.constexpr, C_ROW: tl.constexpr, Z_ROW: tl.constexpr,
    STATE: tl.constexpr, PER: tl.constexpr, CHANNELS: tl.constexpr, UNROLL: tl.constexpr,
    ENDS: tl.constexpr, WHOLE: tl.constexpr, FLUSH: tl.constexpr,
):  # fmt: skip
    """One tile of channels of one segment of one sequence; innermost strides are 1.

    ``PER``: values in a word of B and C, whose rows and batches are counted in words.
    ``ENDS``: only the state at the segment's end, had it begun with none, and the sum of its steps.
    ``zero`` is 0 and the compiler must not know: it would take what all lanes share for uniform and move it
    through the uniform registers one word at a time, waiting for each.
    """
    WORDS: tl.constexpr = STATE // PER
    batch = tl.program_id(1).to(tl.int64)
    segment = tl.program_id(2)
    tiles = tl.num_programs(0)
    lane = tl.arange(0, CHANNELS)
    channel = tl.program_id(0) * CHANNELS + lane
    inside = channel < WIDTH
    anchor = lane * zero
    b_type: tl.constexpr = b_ptr.dtype.element_ty
    c_type: tl.constexpr = c_ptr.dtype.element_ty
    if PER > 1:
        b_ptr = b_ptr.to(tl.pointer_type(tl.int64), bitcast=True)
        c_ptr = c_ptr.to(tl.pointer_type(tl.int64), bitcast=True)
    u_ptr += batch * u_batch + channel
    dt_ptr += batch * dt_batch + channel
    z_ptr += batch * z_batch + channel
    y_ptr += batch * LENGTH * WIDTH + channel
    b_ptr += batch * b_batch
    c_ptr += batch * c_batch
    skip = tl.load(d_ptr + channel, mask=inside, other=0.0)
    slot = (batch * ((LENGTH + SEGMENT - 1) // SEGMENT)) * tiles + tl.program_id(0)  # of segment 0
    decay = ()
    h = ()
    for n in tl.static_range(STATE):
        a = tl.load(a_ptr + channel * STATE + n, mask=inside, other=0.0)
        decay = decay + (LOG2E * a,)  # type: ignore[assignment]  # noqa: RUF005
        h = h + (tl.zeros((CHANNELS,), tl.float32),)  # type: ignore[assignment]  # noqa: RUF005
    passed = tl.zeros((CHANNELS,), tl.float32)
    if not ENDS:
        for earlier in tl.range(0, (LENGTH - 1) // SEGMENT, loop_unroll_factor=4):
            at = slot + earlier * tiles
            before = earlier < segment
            length = tl.where(before, tl.load(sum_ptr + at * CHANNELS + lane), 0.0)
            later = ()
            for n in tl.static_range(STATE):
                end = tl.load(end_ptr + (at * STATE + n) * CHANNELS + lane)
                now = _exp2(length * decay[n], FLUSH) * h[n] + tl.where(before, end, 0.0)
                later = later + (now,)  # type: ignore[assignment]  # noqa: RUF005
            h = later
    begin = segment * SEGMENT
    rows = _fetch(
        u_ptr, dt_ptr, b_ptr, c_ptr, z_ptr, begin, inside, anchor,
        LENGTH, U_ROW, DT_ROW, B_ROW, C_ROW, Z_ROW, WORDS, UNROLL, ENDS, WHOLE,
    )  # fmt: skip
    for step in range(0, SEGMENT, 2 * UNROLL):
        first = begin + step
        second = first + UNROLL
        ahead = begin + (step + 2 * UNROLL) % SEGMENT  # the last fetch is not used
        others = _fetch(
            u_ptr, dt_ptr, b_ptr, c_ptr, z_ptr, second, inside, anchor,
            LENGTH, U_ROW, DT_ROW, B_ROW, C_ROW, Z_ROW, WORDS, UNROLL, ENDS, WHOLE,
        )  # fmt: skip
        h, passed = _steps(
            h, passed, rows, first, y_ptr, decay, skip, inside, b_type, c_type,
            WIDTH, LENGTH, STATE, PER, UNROLL, ENDS, WHOLE, FLUSH,
        )  # fmt: skip
        rows = _fetch(
            u_ptr, dt_ptr, b_ptr, c_ptr, z_ptr, ahead, inside, anchor,
            LENGTH, U_ROW, DT_ROW, B_ROW, C_ROW, Z_ROW, WORDS, UNROLL, ENDS, WHOLE,
        )  # fmt: skip
        h, passed = _steps(
            h, passed, others, second, y_ptr, decay, skip, inside, b_type, c_type,
            WIDTH, LENGTH, STATE, PER, UNROLL, ENDS, WHOLE, FLUSH,
        )  # fmt: skip
    if ENDS:
        at = slot + segment * tiles
        for n in tl.static_range(STATE):
            tl.store(end_ptr + (at * STATE + n) * CHANNELS + lane, h[n])
        tl.store(sum_ptr + at * CHANNELS + lane, passed)


@torch.library.custom_op("icd::selective_scan_tiled", mutates_args=())
def scan(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`.

    Opaque to torch.compile, so that it does not break graphs; no synchronisation, so that it can be
    captured. Views with contiguous rows (halves of a fused projection) are read where they are.
    """
    batch, length, width = u.shape
    state = A.shape[1]
    u, dt, B, C, z = (x if x.stride(-1) == 1 else x.contiguous() for x in (u, dt, B, C, z))
    A, D = A.float().contiguous(), D.float().contiguous()
    y = u.new_empty(batch, length, width)
    tiles = triton.cdiv(width, CHANNELS)
    parts = segments(tiles * batch, length)
    steps = triton.cdiv(triton.cdiv(length, parts), 2 * UNROLL) * 2 * UNROLL
    parts = triton.cdiv(length, steps)
    ends = u.new_empty((batch, parts, tiles, state, CHANNELS), dtype=torch.float32)
    sums = u.new_empty((batch, parts, tiles, CHANNELS), dtype=torch.float32)
    per = values_a_word(B, C)
    batches = (u.stride(0), dt.stride(0), B.stride(0) // per, C.stride(0) // per, z.stride(0))
    for only_ends in (True, False) if parts > 1 else (False,):
        _walk[(tiles, batch, parts - only_ends)](
            *(u, dt, A, B, C, D, z, y, ends, sums), *batches, 0,
            WIDTH=width, LENGTH=length, SEGMENT=steps,
            U_ROW=u.stride(1), DT_ROW=dt.stride(1), B_ROW=B.stride(1) // per, C_ROW=C.stride(1) // per,
            Z_ROW=z.stride(1), STATE=state, PER=per, CHANNELS=CHANNELS, UNROLL=UNROLL,
            ENDS=only_ends, WHOLE=width % CHANNELS == 0 and length % steps == 0,
            FLUSH=u.is_cuda and torch.version.hip is None, num_warps=1,
        )  # fmt: skip
    return y


def segments(programs: int, length: int) -> int:
    """Into how many pieces time is cut: 1 where ``programs`` fill the device."""
    return max(1, min(PROGRAMS // programs, length // SHORTEST))


def values_a_word(*shared: Tensor) -> int:
    """How many values of B and C are fetched at once: as many as `WORD` bytes hold where every row is made of
    such words and lies on one, else 1."""
    size = shared[0].element_size()
    per = WORD // size
    fits = all(
        x.element_size() == size
        and x.shape[-1] % per == 0
        and all(stride % per == 0 for stride in x.stride()[:-1])
        and x.data_ptr() % WORD == 0
        for x in shared
    )
    return per if fits else 1


@scan.register_fake
def _(u: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor) -> Tensor:
    return u.new_empty(u.shape)
