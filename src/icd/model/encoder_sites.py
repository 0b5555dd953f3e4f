"""The sites of BERT-like encoders, as data: where a family keeps its parts, and the sites made of them.

Inside an attention either whole heads are sites, or the dimensions of each head: both lie on the same
parameter dimensions, so the offsets of the dimensions would depend on the order of the heads, and sites
must be independent of one another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from icd.contracts import Site, TensorAxis

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Attention = Literal["heads", "dims"]
KINDS = ("attention", "neurons", "residual")
GRAIN = 8  # dimensions of a head that an engine keeps or drops together: what attention kernels align to


@dataclass(frozen=True)
class Names:
    """Where a family of the transformers library keeps the parts of its post-norm encoder.

    ``layers``: the list of layers, from the model; ``tables``: those behind ``embeddings.``; the rest are
    paths inside a layer. ``attention`` holds the counts ``heads`` (how many), ``width`` (dimensions of all)
    and ``attention_head_size``, and ``scaling``. ``words``: the configuration's own for BERT's. ``project``:
    the linear layer between embeddings and layers, from the model, where embeddings are narrower (ELECTRA).
    ``first_position``: the row of the position table that a first token takes (2 in RoBERTa).
    """

    layers: str
    attention: str
    query: str
    key: str
    value: str
    out: str
    up: str
    down: str
    norms: tuple[str, ...]
    heads: str
    width: str
    tables: tuple[str, ...]
    words: Mapping[str, str] = field(default_factory=dict)
    project: str = ""
    first_position: int = 0

    def word(self, bert: str) -> str:
        """The family's word for one of ``BertConfig``."""
        return self.words.get(bert, bert)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Layers that read the residual stream."""
        return self.query, self.key, self.value, self.up


BERT = Names(
    layers="encoder.layer",
    attention="attention.self",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
    up="intermediate.dense",
    down="output.dense",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
    heads="num_attention_heads",
    width="all_head_size",
    tables=("word_embeddings", "position_embeddings", "token_type_embeddings"),
)


def bert_sites(
    config: Any, attention: Attention = "heads", kinds: Sequence[str] = ("attention", "neurons")
) -> tuple[Site, ...]:
    """`encoder_sites` of a transformers ``BertModel``."""
    return encoder_sites(BERT, config, attention, kinds)


def encoder_sites(
    names: Names,
    config: Any,
    attention: Attention = "heads",
    kinds: Sequence[str] = ("attention", "neurons"),
) -> tuple[Site, ...]:
    """Sites of every layer of an encoder, of the kinds asked for.

    ``attention``: whole heads, or V/O and Q/K dimensions of each head.
    """
    sites: list[Site] = []
    for i in range(config.num_hidden_layers):
        layer = f"{names.layers}.{i}"
        if "attention" in kinds and attention == "heads":
            sites.append(head_site(names, layer, config))
        if "attention" in kinds and attention == "dims":
            for head in range(config.num_attention_heads):
                sites += [value_site(names, layer, config, head), score_site(names, layer, config, head)]
        if "neurons" in kinds:
            up, down = f"{layer}.{names.up}", f"{layer}.{names.down}"
            sites.append(neuron_site(layer, up, down, int(getattr(config, names.word("intermediate_size")))))
    if "residual" in kinds:
        sites.append(residual_site(names, config))
    return tuple(sites)


def neuron_site(layer: str, up: str, down: str, size: int) -> Site:
    """FFN neurons of one layer: rows of ``up`` and its bias, columns of ``down``."""
    return Site(
        name=f"{layer}.neurons",
        size=size,
        axes=(*_rows(up), TensorAxis(f"{down}.weight", 1)),
        group="neurons",
        activation=down,
    )


def head_size(config: Any) -> int:
    """Dimensions of a head."""
    return int(config.hidden_size // config.num_attention_heads)


def head_site(names: Names, layer: str, config: Any) -> Site:
    """Heads of one attention: rows of Q, K, V and their biases, columns of the output projection."""
    size, own, out = head_size(config), f"{layer}.{names.attention}", f"{layer}.{names.out}"
    axes = [
        axis
        for part in (names.query, names.key, names.value)
        for axis in _rows(f"{layer}.{part}", repeat=size)
    ]
    return Site(
        name=f"{layer}.heads",
        size=config.num_attention_heads,
        axes=(*axes, TensorAxis(f"{out}.weight", 1, repeat=size)),
        group="heads",
        activation=out,
        counts=((f"{own}.{names.heads}", 1), (f"{own}.{names.width}", size)),
    )


def value_site(names: Names, layer: str, config: Any, head: int) -> Site:
    """V/O dimensions of one head: rows of V and its bias, columns of the output projection.

    The library's own forward reads ``attention_head_size``; it runs where Q and K are cut alike, the fused
    attention at any widths.
    """
    size, own, out = head_size(config), f"{layer}.{names.attention}", f"{layer}.{names.out}"
    offset = head * size
    return Site(
        name=f"{layer}.head.{head}.vo",
        size=size,
        axes=(*_rows(f"{layer}.{names.value}", offset), TensorAxis(f"{out}.weight", 1, offset)),
        group="vo_dims",
        activation=out,
        counts=((f"{own}.attention_head_size", 1), (f"{own}.{names.width}", config.num_attention_heads)),
        grain=GRAIN,
        peers=f"{layer}.vo_dims",
    )


def score_site(names: Names, layer: str, config: Any, head: int) -> Site:
    """Q/K dimensions of one head: rows of Q and of K with their biases.

    Their activations are the products q_c k_c that the attention scores are sums of.
    """
    size = head_size(config)
    query, key = (_rows(f"{layer}.{part}", head * size) for part in (names.query, names.key))
    return Site(
        name=f"{layer}.head.{head}.qk",
        size=size,
        axes=(query[0], key[0], query[1], key[1]),
        group="qk_dims",
        activation=f"{layer}.{names.out}",
        factors=(query[0], key[0]),
        grain=GRAIN,
        peers=f"{layer}.qk_dims",
    )


def residual_site(names: Names, config: Any) -> Site:
    """The residual stream: embeddings or what projects them, every norm, all inputs and outputs of layers."""
    axes = _rows(names.project or "embeddings.LayerNorm")
    if not names.project:
        axes += [TensorAxis(f"embeddings.{table}.weight", 1) for table in names.tables]
    for i in range(config.num_hidden_layers):
        layer = f"{names.layers}.{i}"
        axes += [TensorAxis(f"{layer}.{part}.weight", 1) for part in names.inputs]
        for part in (names.out, names.down, *names.norms):
            axes += _rows(f"{layer}.{part}")
    return Site(
        name="residual",
        size=config.hidden_size,
        axes=tuple(axes),
        group="residual",
        activation=f"{names.layers}.{config.num_hidden_layers // 2}.{names.up}",
        output=True,
    )


def _rows(module: str, offset: int = 0, repeat: int = 1) -> list[TensorAxis]:
    """What a linear layer or a norm makes: rows of its weight, and its bias."""
    return [TensorAxis(f"{module}.{part}", 0, offset, repeat) for part in ("weight", "bias")]
