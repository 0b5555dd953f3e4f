"""The selective scan by the Triton kernel `walk`, and how it is cut; `reference.scan` is its plain twin.

Channels alone do not fill a device, so time is cut into segments: a first pass finds the state at each
segment's end, had it begun with none; a second one starts every segment from what came before it.
"""

from __future__ import annotations

import math

import torch
import triton
from torch import Tensor

from icd.model.scan.walk import walk

CHANNELS = 32  # of a program, which is one warp
UNROLL = 4  # steps fetched at once, while as many are computed
RESIDENT = 12  # programs at a time on a multiprocessor, as their registers allow
MERGE = 2.25  # steps that take as long as reading the end of one segment
WORD = 8  # bytes of B and C fetched at once


@torch.library.custom_op("icd::selective_scan_tiled", mutates_args=())
def scan(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`.

    Opaque to torch.compile, so that it does not break graphs; no synchronisation, so that it can be
    captured. Views with contiguous rows (halves of a fused projection) are read where they are.
    """
    batch, length, width = u.shape
    state = A_log.shape[1]
    u, dt, B, C, z = (x if x.stride(-1) == 1 else x.contiguous() for x in (u, dt, B, C, z))
    A_log, D = A_log.contiguous(), D.contiguous()
    y = u.new_empty(batch, length, width)
    tiles = triton.cdiv(width, CHANNELS)
    steps = steps_of_a_segment(tiles * batch, length, processors(u))
    parts = triton.cdiv(length, steps)
    ends = u.new_empty((batch, parts, tiles, state, CHANNELS), dtype=torch.float32)
    sums = u.new_empty((batch, parts, tiles, CHANNELS), dtype=torch.float32)
    per = values_a_word(B, C)
    batches = (u.stride(0), dt.stride(0), B.stride(0) // per, C.stride(0) // per, z.stride(0))
    rows = (u.stride(1), dt.stride(1), B.stride(1) // per, C.stride(1) // per, z.stride(1))
    for only_ends in (True, False) if parts > 1 else (False,):
        walk[(tiles, batch, parts - only_ends)](
            *(u, dt, A_log, B, C, D, D if bias is None else bias, z, y, ends, sums),
            *batches, *rows, width, length, steps, 0,
            STATE=state, PER=per, CHANNELS=CHANNELS, UNROLL=UNROLL, ENDS=only_ends, BIAS=bias is not None,
            WHOLE=length % (2 * UNROLL) == 0, FLUSH=u.is_cuda and torch.version.hip is None, num_warps=1,
        )  # fmt: skip
    return y


def steps_of_a_segment(programs: int, length: int, processors: int) -> int:
    """How long the pieces are into which ``length`` steps are cut, a multiple of what is fetched in turn.

    Every step is walked twice and the last segment reads the ends of all others, so that the best length is
    sqrt(MERGE * length / 2); but no more pieces than run at once with ``programs`` beside each other: those
    of a second wave would begin when the first ends. Both figures were found on an H200.
    """
    turn = 2 * UNROLL
    most = max(1, RESIDENT * processors // programs)
    least = math.sqrt(MERGE * length / 2)
    return triton.cdiv(max(triton.cdiv(length, most), math.ceil(least)), turn) * turn


def processors(x: Tensor) -> int:
    """Multiprocessors of the device that holds ``x``; 1 for a CPU, where Triton interprets."""
    return torch.cuda.get_device_properties(x.device).multi_processor_count if x.is_cuda else 1


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
def _(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    return u.new_empty(u.shape)
