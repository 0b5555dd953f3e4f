"""The selective scan of the package ``mamba_ssm``, CUDA only."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("icd::selective_scan_library", mutates_args=())
def scan(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    """Shapes and meaning as in `icd.model.scan`; opaque to torch.compile."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    turned = [x.transpose(1, 2).contiguous() for x in (u, dt, B, C, z)]
    u_, dt_, B_, C_, z_ = turned  # (b, d, L) and (b, n, L)
    A, bias = -torch.exp(A_log.float()), None if bias is None else bias.float()
    out: Tensor = selective_scan_fn(u_, dt_, A, B_, C_, D.float(), z=z_, delta_bias=bias, delta_softplus=True)
    return out.transpose(1, 2).contiguous()


@scan.register_fake
def _(
    u: Tensor, dt: Tensor, A_log: Tensor, B: Tensor, C: Tensor, D: Tensor, z: Tensor, bias: Tensor | None
) -> Tensor:
    return u.new_empty(u.shape)
