"""One projection for Q, K and V: the same function as the library's self-attention in fewer kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from icd.model.encoder_sites import BERT, Names


class FusedSelfAttention(nn.Module):
    """``softmax(scale Q K^T) V`` with one linear layer for the three projections.

    Takes the place of a self-attention of the transformers library: (batch, seq, hidden) and an additive
    or boolean mask to (batch, seq, heads x V width) and None for the weights. ``out``: the output
    projection, where the library's module holds it; its result then is (batch, seq, hidden). ``scale`` is
    that of the model, 1/sqrt of its head size, however many dimensions of a head are left; Q and K may be
    cut to another width than V.
    """

    def __init__(
        self,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        heads: int,
        scale: float,
        out: nn.Linear | None = None,
    ) -> None:
        super().__init__()
        parts = (query, key, value)
        self.qkv = nn.Linear(query.in_features, sum(p.out_features for p in parts), device="meta")
        self.qkv.weight = nn.Parameter(torch.cat([p.weight for p in parts]), requires_grad=False)
        self.qkv.bias = nn.Parameter(torch.cat([p.bias for p in parts]), requires_grad=False)
        for name, buffer in query.named_buffers():  # what is known of the input, which the three share
            self.qkv.register_buffer(name, buffer, persistent=False)
        self.heads, self.scale, self.out = heads, scale, out
        self.qk_width, self.v_width = query.out_features // heads, value.out_features // heads

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Attention of ``hidden`` to itself."""
        batch, seq, _width = hidden.shape
        q, k, v = self._heads(self.qkv(hidden))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, scale=self.scale)
        out = out[..., : self.v_width].transpose(1, 2).reshape(batch, seq, -1)
        return out if self.out is None else self.out(out), None

    def _heads(self, qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(batch, heads, seq, width) each; zeros behind the narrower ones, for flash wants equal widths."""
        batch, seq, _width = qkv.shape
        widths = (self.qk_width, self.qk_width, self.v_width)
        parts = qkv.split([self.heads * width for width in widths], dim=-1)
        q, k, v = (p.view(batch, seq, self.heads, -1).transpose(1, 2) for p in parts)
        more = self.v_width - self.qk_width
        if more > 0:
            q, k = F.pad(q, (0, more)), F.pad(k, (0, more))
        elif more < 0:
            v = F.pad(v, (0, -more))
        return q, k, v


def fuser(names: Names) -> Callable[[nn.Module], None]:
    """What fuses the self-attention of every layer of an encoder, in place; see `Workload.fuse`."""

    def fuse_attention(module: nn.Module) -> None:
        """Replace every layer's self-attention."""
        layers: Any = module.get_submodule(names.layers)
        for layer in layers:
            old: Any = layer.get_submodule(names.attention)
            query, key, value = (layer.get_submodule(n) for n in (names.query, names.key, names.value))
            inside = names.out.startswith(f"{names.attention}.")
            out = layer.get_submodule(names.out) if inside else None
            heads = getattr(old, names.heads)
            fused = FusedSelfAttention(query, key, value, heads, old.scaling, out)
            layer.set_submodule(names.attention, fused)

    return fuse_attention


fuse_bert = fuser(BERT)
