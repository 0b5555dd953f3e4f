"""The selective scan as its definition reads: one step of the recurrence after the other.

The referee of every other scan, and far too slow to be timed.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def scan(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`; the state is float32 (float64 for float64 inputs)."""
    work = torch.promote_types(u.dtype, torch.float32)
    dt = dt.to(work) if bias is None else dt.to(work) + bias.to(work)
    x, delta, A = u.to(work), F.softplus(dt), -torch.exp(A_log.to(work))  # (b, L, d), (b, L, d), (d, n)
    B, C = B.to(work), C.to(work)  # (b, L, n)
    h = x.new_zeros(x.shape[0], *A.shape)  # (b, d, n)
    rows = []
    for t in range(x.shape[1]):
        step = delta[:, t, :, None]  # (b, d, 1)
        h = torch.exp(step * A) * h + step * x[:, t, :, None] * B[:, t, None, :]
        rows.append((h * C[:, t, None, :]).sum(-1))  # (b, d)
    y = torch.stack(rows, 1) + D.to(work) * x
    return (y * F.silu(z.to(work))).to(u.dtype)
