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
        self.intermediate_size = int(mixer.intermediate_size)
        self.scan = scan

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, L, M) to the same shape."""
        u, z = self.in_proj(x).chunk(2, dim=-1)  # (B, L, D) each
        scan = executed_scan(self.scan, u.device.type, double=u.dtype == torch.float64)
        u = load_conv(scan)(u, self.conv1d.weight, self.conv1d.bias)  # (B, L, D)
        ranks = (self.dt_proj.in_features, self.A_log.shape[1], self.A_log.shape[1])
        dt, into, out_of = self.x_proj(u).split(ranks, dim=-1)  # (B, L, R), (B, L, N), (B, L, N)
        decay = -torch.exp(self.A_log.to(torch.promote_types(self.A_log.dtype, torch.float32)))  # (D, N)
        return self.out_proj(load(scan)(u, self.dt_proj(dt), decay, into, out_of, self.D, z))

    def own_work(self, x: torch.Tensor) -> tuple[Work, ...]:
        """Convolution and scan of ``x`` (B, L, M); the projections are layers and count for themselves."""
        return conv_work(x, self.conv1d.weight, self.conv1d.bias), scan_work(x, self.A_log, self.D)


class MambaLayer(nn.Module):
    """``x + mixer(norm(x))``; the residual stream is float32 where the configuration says so."""

    def __init__(self, block: Any, scan: str) -> None:
        super().__init__()
        self.norm = RMSNorm(block.norm)
        self.mixer = MambaMixer(block.mixer, scan)
        self.residual_in_fp32 = bool(block.residual_in_fp32)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, L, M) to the same shape."""
        out = self.mixer(self.norm(x))
        if self.residual_in_fp32:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
        return x + out


class RMSNorm(nn.Module):
    """Root-mean-square norm (Zhang and Sennrich 2019, arXiv 1910.07467) in float32 or wider."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = float(norm.variance_epsilon)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., M) to the same shape, in the dtype of the weight."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * scaled.to(self.weight.dtype)


class MambaStack(nn.Module):
    """Embeddings, layers and final norm, taking over the parameters of a transformers ``MambaModel``."""

    def __init__(self, model: Any, scan: str) -> None:
        super().__init__()
        if torch.cuda.is_available():  # now, so that nothing is imported while a layer is traced
            load(executed_scan(scan, "cuda"))
            load_conv(executed_scan(scan, "cuda"))
        self.embeddings = model.embeddings
        self.layers = nn.ModuleList(MambaLayer(block, scan) for block in model.layers)
        self.norm_f = RMSNorm(model.norm_f)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, L) token ids to hidden states (B, L, M).

        Causal: tokens behind a sequence's end do not change it, so right-padding needs no mask.
        """
        x = self.embeddings(input_ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm_f(x)
