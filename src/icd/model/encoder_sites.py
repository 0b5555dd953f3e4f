"""The sites of BERT-like encoders, as data.

Inside an attention either whole heads are sites, or the dimensions of each head: both lie on the same
parameter dimensions, so the offsets of the dimensions would depend on the order of the heads, and sites
must be independent of one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from icd.contracts import Site, TensorAxis

if TYPE_CHECKING:
    from collections.abc import Sequence

Attention = Literal["heads", "dims"]
KINDS = ("attention", "neurons", "residual")
GRAIN = 8  # dimensions of a head that an engine keeps or drops together: what attention kernels align to


def bert_sites(
    config: Any, attention: Attention = "heads", kinds: Sequence[str] = ("attention", "neurons")
) -> tuple[Site, ...]:
    """Sites of every layer of a transformers ``BertModel``, of the kinds asked for.

    ``attention``: whole heads, or V/O and Q/K dimensions of each head.
    """
    sites: list[Site] = []
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        if "attention" in kinds and attention == "heads":
            sites.append(head_site(layer, config))
        if "attention" in kinds and attention == "dims":
            for head in range(config.num_attention_heads):
                sites += [value_site(layer, config, head), score_site(layer, config, head)]
        if "neurons" in kinds:
            up, down = f"{layer}.intermediate.dense", f"{layer}.output.dense"
            sites.append(neuron_site(layer, up, down, config.intermediate_size))
    if "residual" in kinds:
        sites.append(residual_site(config))
    return tuple(sites)


def neuron_site(layer: str, up: str, down: str, size: int) -> Site:
    """FFN neurons of one layer: rows of ``up`` and its bias, columns of ``down``."""
    return Site(
        name=f"{layer}.neurons",
        size=size,
        axes=(TensorAxis(f"{up}.weight", 0), TensorAxis(f"{up}.bias", 0), TensorAxis(f"{down}.weight", 1)),
        group="neurons",
        activation=down,
    )


def head_size(config: Any) -> int:
    """Dimensions of a head."""
    return int(config.hidden_size // config.num_attention_heads)


def head_site(layer: str, config: Any) -> Site:
    """Heads of one attention: rows of Q, K, V and their biases, columns of the output projection."""
    size, own, out = head_size(config), f"{layer}.attention.self", f"{layer}.attention.output.dense"
    axes = [
        TensorAxis(f"{own}.{p}.{part}", 0, repeat=size)
        for p in ("query", "key", "value")
        for part in ("weight", "bias")
    ]
    return Site(
        name=f"{layer}.heads",
        size=config.num_attention_heads,
        axes=(*axes, TensorAxis(f"{out}.weight", 1, repeat=size)),
        group="heads",
        activation=out,
        counts=((f"{own}.num_attention_heads", 1), (f"{own}.all_head_size", size)),
    )


def value_site(layer: str, config: Any, head: int) -> Site:
    """V/O dimensions of one head: rows of V and its bias, columns of the output projection.

    The library's own forward reads ``attention_head_size``; it runs where Q and K are cut alike, the fused
    attention at any widths.
    """
    size, own, out = head_size(config), f"{layer}.attention.self", f"{layer}.attention.output.dense"
    offset = head * size
    axes = (
        TensorAxis(f"{own}.value.weight", 0, offset),
        TensorAxis(f"{own}.value.bias", 0, offset),
        TensorAxis(f"{out}.weight", 1, offset),
    )
    return Site(
        name=f"{layer}.head.{head}.vo",
        size=size,
        axes=axes,
        group="vo_dims",
        activation=out,
        counts=(
            (f"{own}.attention_head_size", 1),
            (f"{own}.all_head_size", config.num_attention_heads),
        ),
        grain=GRAIN,
        peers=f"{layer}.vo_dims",
    )


def score_site(layer: str, config: Any, head: int) -> Site:
    """Q/K dimensions of one head: rows of Q and of K with their biases.

    Their activations are the products q_c k_c that the attention scores are sums of.
    """
    size, own = head_size(config), f"{layer}.attention.self"
    offset = head * size
    rows = tuple(TensorAxis(f"{own}.{p}.weight", 0, offset) for p in ("query", "key"))
    return Site(
        name=f"{layer}.head.{head}.qk",
        size=size,
        axes=(*rows, *(TensorAxis(f"{own}.{p}.bias", 0, offset) for p in ("query", "key"))),
        group="qk_dims",
        activation=f"{layer}.attention.output.dense",
        factors=rows,
        grain=GRAIN,
        peers=f"{layer}.qk_dims",
    )


def residual_site(config: Any) -> Site:
    """The residual stream: embeddings, every norm, all inputs and outputs of every layer."""
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    axes = [TensorAxis(f"embeddings.{table}.weight", 1) for table in tables]
    axes += _norm("embeddings.LayerNorm")
    for i in range(config.num_hidden_layers):
        layer = f"encoder.layer.{i}"
        axes += [TensorAxis(f"{layer}.attention.self.{p}.weight", 1) for p in ("query", "key", "value")]
        axes.append(TensorAxis(f"{layer}.intermediate.dense.weight", 1))
        for part in ("attention.output", "output"):
            out = f"{layer}.{part}.dense"
            axes += [TensorAxis(f"{out}.weight", 0), TensorAxis(f"{out}.bias", 0)]
            axes += _norm(f"{layer}.{part}.LayerNorm")
    return Site(
        name="residual",
        size=config.hidden_size,
        axes=tuple(axes),
        group="residual",
        activation=f"encoder.layer.{config.num_hidden_layers // 2}.intermediate.dense",
        output=True,
    )


def _norm(name: str) -> list[TensorAxis]:
    return [TensorAxis(f"{name}.{part}", 0) for part in ("weight", "bias")]
