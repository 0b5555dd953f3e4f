"""One projection for Q, K and V: the same function as the library's self-attention in fewer kernels."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class FusedSelfAttention(nn.Module):
    """``softmax(scale Q K^T) V`` with one linear layer for the three projections.

    Takes the place of a transformers ``BertSelfAttention``: (batch, seq, hidden) and an additive or
    boolean mask to (batch, seq, heads x V width) and None for the weights. ``scale`` is that of the model,
    1/sqrt of its head size, however many dimensions of a head are left; Q and K may be cut to another
    width than V.
    """

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear, heads: int, scale: float) -> None:
        super().__init__()
        parts = (query, key, value)
        self.qkv = nn.Linear(query.in_features, sum(p.out_features for p in parts), device="meta")
        self.qkv.weight = nn.Parameter(torch.cat([p.weight for p in parts]), requires_grad=False)
        self.qkv.bias = nn.Parameter(torch.cat([p.bias for p in parts]), requires_grad=False)
        for name, buffer in query.named_buffers():  # what is known of the input, which the three share
            self.qkv.register_buffer(name, buffer, persistent=False)
        self.heads, self.scale = heads, scale
        self.qk_width, self.v_width = query.out_features // heads, value.out_features // heads

    def forward(
        self, hidden: torch.Tensor, attention_mask: torch.Tensor | None = None, **_: Any
    ) -> tuple[torch.Tensor, None]:
        """Attention of ``hidden`` to itself."""
        batch, seq, _width = hidden.shape
        q, k, v = self._heads(self.qkv(hidden))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, scale=self.scale)
        return out[..., : self.v_width].transpose(1, 2).reshape(batch, seq, -1), None

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


def fuse_bert(module: nn.Module) -> None:
    """Replace the self-attention of every layer of a ``BertModel``, in place."""
    model: Any = module
    for layer in model.encoder.layer:
        old = layer.attention.self
        layer.attention.self = FusedSelfAttention(
            old.query, old.key, old.value, old.num_attention_heads, old.scaling
        )
