"""Mamba-1 (Gu and Dao 2023, arXiv 2312.00752) as a plain torch module over the library's parameters.

    B  batch, L  sequence, D  d_inner, N  d_state, R  dt_rank, M  hidden size

Parameters have the names of transformers' ``MambaModel``, so its state dicts fit. The forward differs in
what a timed model needs: a scan that can be chosen, layers that compile as one graph and are captured
without synchronisation, every projection called as a module (so that engines and hooks see it), widths
read from the weights (so that layers cut to different widths run), and no cast below the weights' dtype
(so that float64 stays float64).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from icd.contracts import Work
from icd.model.mamba_work import conv_work, scan_work
from icd.model.scan import executed_scan, load, load_conv


class MambaMixer(nn.Module):
    """Gate, causal convolution and selective scan of one layer, made of the library mixer's parameters."""

    def __init__(self, mixer: Any, scan: str) -> None:
        super().__init__()
        self.in_proj, self.conv1d, self.x_proj = mixer.in_proj, mixer.conv1d, mixer.x_proj
        self.dt_proj, self.out_proj = mixer.dt_proj, mixer.out_proj
        self.A_log, self.D = mixer.A_log, mixer.D
        self.register_parameter("dt_bias", None)  # that of dt_proj, where `fuse_mamba` moved it
        self.intermediate_size = int(mixer.intermediate_size)
        self.scan = scan

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, L, M) to the same shape."""
        u, z = self.in_proj(x).chunk(2, dim=-1)  # (B, L, D) each
        scan = executed_scan(self.scan, u.device.type, double=u.dtype == torch.float64)
        u = load_conv(scan)(u, self.conv1d.weight, self.conv1d.bias)  # (B, L, D)
        ranks = (self.dt_proj.in_features, self.A_log.shape[1], self.A_log.shape[1])
        dt, into, out_of = self.x_proj(u).split(ranks, dim=-1)  # (B, L, R), (B, L, N), (B, L, N)
        y = load(scan)(u, self.dt_proj(dt), self.A_log, into, out_of, self.D, z, self.dt_bias)
        return self.out_proj(y)

    def own_work(self, x: torch.Tensor) -> tuple[Work, ...]:
        """Convolution and scan of ``x`` (B, L, M); the projections are layers and count for themselves."""
        return conv_work(x, self.conv1d.weight, self.conv1d.bias), scan_work(
            x, self.A_log, self.D, self.dt_bias
        )


class MambaLayer(nn.Module):
    """``mixer(norm(x))``, where ``x`` is the residual stream once ``out`` of the layer before is added to it.

    So the sum is computed together with the norm that reads it, not by itself at a layer's end.
    """

    def __init__(self, block: Any, scan: str) -> None:
        super().__init__()
        self.norm = AddNorm(block.norm)
        self.mixer = MambaMixer(block.mixer, scan)

    def forward(self, x: torch.Tensor, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``x`` and ``out`` (B, L, M) to the new ones, of the same shapes and dtypes."""
        x, normed = self.norm(x, out)
        return x, self.mixer(normed)


class AddNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019, arXiv 1910.07467) of a sum, in float32 or wider."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = float(norm.variance_epsilon)

    def forward(self, x: torch.Tensor, out: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``x + out`` (..., M) in the dtype of ``x``, and its norm in that of the weight."""
        x = x + out.to(x.dtype)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return x, self.weight * scaled.to(self.weight.dtype)


class MambaStack(nn.Module):
    """Embeddings, layers and final norm, taking over the parameters of a transformers ``MambaModel``.

    The residual stream is float32 where the configuration says so.
    """

    def __init__(self, model: Any, scan: str) -> None:
        super().__init__()
        if torch.cuda.is_available():  # now, so that nothing is imported while a layer is traced
            load(executed_scan(scan, "cuda"))
            load_conv(executed_scan(scan, "cuda"))
        self.embeddings = model.embeddings
        self.layers = nn.ModuleList(MambaLayer(block, scan) for block in model.layers)
        self.residual_in_fp32 = bool(model.config.residual_in_fp32)
        self.norm_f = AddNorm(model.norm_f)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, L) token ids to hidden states (B, L, M).

        Causal: tokens behind a sequence's end do not change it, so right-padding needs no mask.
        """
        out = self.embeddings(input_ids)
        wide: Any = torch.promote_types(out.dtype, torch.float32) if self.residual_in_fp32 else out.dtype
        x = torch.zeros_like(out, dtype=wide)
        for layer in self.layers:
            x, out = layer(x, out)
        return self.norm_f(x, out)[1]


def fuse_mamba(module: nn.Module) -> None:
    """Move the bias of every ``dt_proj`` into the scan that reads its result; see `Workload.fuse`."""
    for mixer in module.modules():
        if isinstance(mixer, MambaMixer) and mixer.dt_proj.bias is not None:
            mixer.dt_bias, mixer.dt_proj.bias = mixer.dt_proj.bias, None
