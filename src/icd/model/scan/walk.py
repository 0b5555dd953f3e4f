"""The kernel of `tiled`: a lane owns a channel and walks over time, its states in registers.

So neither the recurrence nor the sum over states needs an exchange between threads, and what is the same for
all states of a channel (softplus, skip connection, gate) is computed once. What is the same for all
channels, a step's B and C, is fetched as words of several values. The rows of the next steps are fetched
before those of the current ones are used; u, dt, z and the result cross memory once. Channels alone do not
fill a device, so time is cut into segments: a first pass finds the state at each segment's end, had it begun
with none; a second one starts every segment from what came before it. `reference.scan` is the plain twin.
"""

from __future__ import annotations

import triton
import triton.language as tl

LOG2E = tl.constexpr(1.4426950408889634)
TOGETHER = tl.constexpr(4)  # segments whose ends are fetched at once


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
def _lanes_own(zero):
    """0 that for all the GPU's assembler knows differs between lanes; for Triton a scalar, to compile fast.

    Added to an address that all lanes share, it keeps what is read there out of the uniform registers, which
    take one word at a time and make the warp wait for each.
    """
    return tl.inline_asm_elementwise(
        "{ .reg .u32 lane; mov.u32 lane, %laneid; mul.lo.u32 $0, lane, $1; }", "=r,r", [zero],
        dtype=tl.int32, is_pure=True, pack=1,
    )  # fmt: skip


@triton.jit
def _fetch(
    at, rows, t, stop, WORDS: tl.constexpr, UNROLL: tl.constexpr, ENDS: tl.constexpr, WHOLE: tl.constexpr
):
    """Where the last of the UNROLL steps from ``t`` on lies, and what they read, as a flat tuple.

    u, dt, z a step, one value a lane; then WORDS words of B and of C a step, which all lanes share. From
    ``stop`` on a step reads what the one before it read. ``at``: pointers into u, dt, B, z, C, one row
    before ``t``; ``rows``: their rows' strides.
    """
    u_at, dt_at, b_at, z_at, c_at = at
    u_row, dt_row, b_row, z_row, c_row = rows
    values = ()
    words = ()
    go = t < stop
    for i in tl.static_range(UNROLL):
        if not WHOLE:
            go = t + i < stop
        # a stride that the compiler cannot hoist: one multiply-add moves a pointer, a sum of 64 bits is two
        u_at += tl.where(go, u_row, 0)
        dt_at += tl.where(go, dt_row, 0)
        b_at += tl.where(go, b_row, 0)
        if not ENDS:
            z_at += tl.where(go, z_row, 0)
            c_at += tl.where(go, c_row, 0)
        u = tl.load(u_at)
        values = values + (u, tl.load(dt_at), u if ENDS else tl.load(z_at))  # type: ignore[assignment]  # noqa: RUF005 (Triton has no unpacking)
        for k in tl.static_range(WORDS):
            b = tl.load(b_at + k)
            words = words + (b, b if ENDS else tl.load(c_at + k))  # type: ignore[assignment]  # noqa: RUF005
    return (u_at, dt_at, b_at, z_at, c_at), values + words


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
    h, passed, read, t, stop, y_at, y_row, decay, skip, bias, b_type: tl.constexpr, c_type: tl.constexpr,
    STATE: tl.constexpr, PER: tl.constexpr, UNROLL: tl.constexpr, ENDS: tl.constexpr, WHOLE: tl.constexpr,
    FLUSH: tl.constexpr,
):  # fmt: skip
    """UNROLL steps on what `_fetch` brought: the states after them, the sum of steps, and where y goes on."""
    WORDS: tl.constexpr = STATE // PER
    for i in tl.static_range(UNROLL):
        u = read[3 * i].to(tl.float32)
        delta = _softplus(read[3 * i + 1].to(tl.float32) + bias, FLUSH)
        driven = delta * u
        even = skip * u
        odd = driven * 0.0
        later = ()
        for n in tl.static_range(STATE):
            into = _value(read[3 * UNROLL + 2 * (i * WORDS + n // PER)], n % PER, b_type)
            now = _exp2(delta * decay[n], FLUSH) * h[n] + driven * into
            later = later + (now,)  # type: ignore[assignment]  # noqa: RUF005
            if not ENDS:
                out_of = _value(read[3 * UNROLL + 2 * (i * WORDS + n // PER) + 1], n % PER, c_type)
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
            z = read[3 * i + 2].to(tl.float32)
            y = (even + odd) * (z / (1.0 + _exp2(-LOG2E * z, FLUSH)))
            if WHOLE:
                tl.store(y_at, y.to(y_at.dtype.element_ty))
            else:
                tl.store(y_at, y.to(y_at.dtype.element_ty), mask=t + i < stop)
            y_at += y_row
    return h, passed, y_at


@triton.jit(do_not_specialize=list(range(25)))  # neither shapes nor alignments: compiled once for all layers
def walk(
    u_ptr, dt_ptr, a_ptr, b_ptr, c_ptr, d_ptr, bias_ptr, z_ptr, y_ptr, end_ptr, sum_ptr,
    u_batch, dt_batch, b_batch, c_batch, z_batch, u_row, dt_row, b_row, c_row, z_row,
    width, length, steps, zero,
    STATE: tl.constexpr, PER: tl.constexpr, CHANNELS: tl.constexpr, UNROLL: tl.constexpr,
    ENDS: tl.constexpr, BIAS: tl.constexpr, WHOLE: tl.constexpr, FLUSH: tl.constexpr,
):  # fmt: skip
    """One tile of channels of one segment of ``steps`` steps of one sequence; innermost strides are 1.

    ``PER``: values in a word of B and C, whose rows and batches are counted in words.
    ``ENDS``: only the state at the segment's end, had it begun with none, and the sum of its steps.
    ``WHOLE``: the length is a multiple of 2 UNROLL, as ``steps`` always is. Else steps behind the last repeat
    its input and write nothing; they lie in the last segment, whose end nobody reads.
    Lanes behind the last channel compute and write what its lane does.
    ``zero`` is 0 and the compiler must not know.
    """
    WORDS: tl.constexpr = STATE // PER
    batch = tl.program_id(1).to(tl.int64)
    segment = tl.program_id(2)
    tiles = tl.num_programs(0)
    begin = segment * steps
    stop = tl.minimum(begin + steps, length)
    lane = tl.arange(0, CHANNELS)
    channel = tl.minimum(tl.program_id(0) * CHANNELS + lane, width - 1)
    anchor = _lanes_own(zero) if FLUSH else zero
    b_type: tl.constexpr = b_ptr.dtype.element_ty
    c_type: tl.constexpr = c_ptr.dtype.element_ty
    if PER > 1:
        b_ptr = b_ptr.to(tl.pointer_type(tl.int64), bitcast=True)
        c_ptr = c_ptr.to(tl.pointer_type(tl.int64), bitcast=True)
    first = begin.to(tl.int64) - 1
    at = (
        u_ptr + (batch * u_batch + first * u_row) + channel,
        dt_ptr + (batch * dt_batch + first * dt_row) + channel,
        b_ptr + (batch * b_batch + first * b_row) + anchor,
        z_ptr + (batch * z_batch + first * z_row) + channel,
        c_ptr + (batch * c_batch + first * c_row) + anchor,
    )
    rows = (u_row, dt_row, b_row, z_row, c_row)
    y_at = y_ptr + (batch * length + begin) * width + channel
    skip = tl.load(d_ptr + channel).to(tl.float32)
    bias = tl.load(bias_ptr + channel).to(tl.float32) if BIAS else tl.zeros((CHANNELS,), tl.float32)
    slot = batch * ((length + steps - 1) // steps) * tiles + tl.program_id(0)  # of segment 0
    decay = ()
    h = ()
    for n in tl.static_range(STATE):
        a_log = tl.load(a_ptr + channel * STATE + n).to(tl.float32)
        decay = decay + (-LOG2E * _exp2(LOG2E * a_log, FLUSH),)  # type: ignore[assignment]  # noqa: RUF005
        h = h + (tl.zeros((CHANNELS,), tl.float32),)  # type: ignore[assignment]  # noqa: RUF005
    passed = tl.zeros((CHANNELS,), tl.float32)
    if not ENDS:
        earlier = 0
        while earlier < segment:
            for i in tl.static_range(TOGETHER):
                before = earlier + i < segment
                place = slot + tl.minimum(earlier + i, segment - 1) * tiles
                span = tl.where(before, tl.load(sum_ptr + place * CHANNELS + lane), 0.0)
                later = ()
                for n in tl.static_range(STATE):
                    end = tl.load(end_ptr + (place * STATE + n) * CHANNELS + lane)
                    now = _exp2(span * decay[n], FLUSH) * h[n] + tl.where(before, end, 0.0)
                    later = later + (now,)  # type: ignore[assignment]  # noqa: RUF005
                h = later
            earlier += TOGETHER
    at, read = _fetch(at, rows, begin, stop, WORDS, UNROLL, ENDS, WHOLE)
    t = begin
    while t < stop:  # Triton's interpreter wants constant bounds of a for
        at, others = _fetch(at, rows, t + UNROLL, stop, WORDS, UNROLL, ENDS, WHOLE)
        h, passed, y_at = _steps(
            h, passed, read, t, stop, y_at, width, decay, skip, bias, b_type, c_type, STATE, PER,
            UNROLL, ENDS, WHOLE, FLUSH,
        )  # fmt: skip
        at, read = _fetch(at, rows, t + 2 * UNROLL, stop, WORDS, UNROLL, ENDS, WHOLE)
        h, passed, y_at = _steps(
            h, passed, others, t + UNROLL, stop, y_at, width, decay, skip, bias, b_type, c_type, STATE, PER,
            UNROLL, ENDS, WHOLE, FLUSH,
        )  # fmt: skip
        t += 2 * UNROLL
    if ENDS:
        place = slot + segment * tiles
        for n in tl.static_range(STATE):
            tl.store(end_ptr + (place * STATE + n) * CHANNELS + lane, h[n])
        tl.store(sum_ptr + place * CHANNELS + lane, passed)
