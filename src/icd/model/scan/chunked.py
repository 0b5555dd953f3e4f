"""The selective scan in pure torch, a chunk of time at a time.

Only ``h = a h + x`` is sequential; decays, inputs and outputs of a chunk are single operations over
(chunk, batch, state, channels) with the channels innermost, so that they vectorise, and a chunk is small
enough to stay in cache. The operations are those of the definition, none is added: exact, and stable for
any decay.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

ELEMENTS = 1 << 18  # of one chunk's states: 1 MiB of float32


@torch.library.custom_op("icd::selective_scan_chunked", mutates_args=())
def scan(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`; the state is float32 (float64 for float64 inputs).

    Opaque to torch.compile, which would unroll time: code that takes a minute to make and seven times as
    long to run (two layers of 256 channels at 2 x 256, two cores).
    """
    work = torch.promote_types(u.dtype, torch.float32)
    batch, length, channels = u.shape
    chunk = max(8, min(128, ELEMENTS // (batch * A_log.numel())))
    x = u.to(work)
    delta = F.softplus(dt.to(work) if bias is None else dt.to(work) + bias.to(work))
    decay = -torch.exp(A_log.to(work)).t().contiguous()  # (n, d)
    driven = (delta * x).transpose(0, 1)  # (L, b, d)
    delta = delta.transpose(0, 1)
    B, C = B.to(work).transpose(0, 1), C.to(work).transpose(0, 1)  # (L, b, n)
    y = x.new_empty(batch, length, channels)
    h = x.new_zeros(batch, *decay.shape)  # (b, n, d)
    for first in range(0, length, chunk):
        now = slice(first, min(first + chunk, length))
        a = torch.mul(delta[now, :, None, :], decay).exp_()  # (T, b, n, d)
        states = B[now, :, :, None] * driven[now, :, None, :]  # (T, b, n, d), inputs until overwritten
        for t in range(states.shape[0]):
            h = states[t].addcmul_(a[t], h)
        y[:, now] = torch.matmul(C[now, :, None, :], states)[:, :, 0].transpose(0, 1)  # (T, b, d)
    out = y + D.to(work) * x
    return (out * F.silu(z.to(work))).to(u.dtype).contiguous()


@scan.register_fake
def _(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    return u.new_empty(u.shape)
