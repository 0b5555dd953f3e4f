"""What the BERT-like encoders share: their forward and their position table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icd.contracts import Footprint
from icd.errors import ConfigError
from icd.model.encoder_sites import BERT, Names

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs


BASE = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "vocab_size": 30522,
}


def last_hidden_state(module: torch.nn.Module, inputs: Inputs, names: Names = BERT) -> torch.Tensor:
    """Hidden states of the last layer of an encoder, (batch, seq_len, hidden).

    Inputs without an ``attention_mask`` go through embeddings and layers directly: the model's own
    forward builds a mask of zeros while a CUDA graph is captured, and a mask takes flash attention away.
    """
    if "attention_mask" in inputs:
        return module(**inputs).last_hidden_state
    model: Any = module
    hidden = model.embeddings(input_ids=inputs["input_ids"])
    if names.project:
        hidden = model.get_submodule(names.project)(hidden)
    for layer in model.get_submodule(names.layers):
        hidden = layer(hidden)
    return hidden


def encoder_footprint(shape: Mapping[str, int], batch: int, seq_len: int, names: Names = BERT) -> Footprint:
    """Of an encoder without pooler, ``shape`` in the words of its configuration (BERT base where silent).

    Alive at once in a layer: its input, then Q, K, V, context, projection and sum in the attention, or both
    sides of the activation function and three hidden states in the FFN. Attention keeps no scores: no timed
    input has a mask, and the kernels then never write them out.
    """
    h, f, n, vocabulary = (shape.get(names.word(k), base) for k, base in BASE.items())
    rows = vocabulary + max(512, seq_len) + (2 if "token_type_embeddings" in names.tables else 0)
    e = shape.get(names.word("embedding_size"), h)
    between = e * h + h if names.project else 0
    tokens = batch * seq_len
    return Footprint(
        params=(rows + 2) * e + between + n * (4 * (h * h + h) + 2 * h * f + f + h + 4 * h),
        tokens=tokens,
        activations=4 * tokens * max(7 * h, 3 * h + 2 * f),
        channels=n * (f + h) + h,  # where every kind of site is laid out
        sites=2 * n + 1,
    )


def check_positions(asked: int, table: int, extend: bool, model: str) -> None:
    """ConfigError for a sequence beyond the position table, unless it is to be extended."""
    if asked > table and not extend:
        raise ConfigError(
            f"seq_len={asked}: model={model} has a position table of {table}; "
            "use a shorter sequence or model.extend_positions=true"
        )


def position_table(module: torch.nn.Module) -> torch.nn.Embedding:
    """An encoder's position table."""
    embeddings: Any = module.embeddings
    table: torch.nn.Embedding = embeddings.position_embeddings
    return table


def positions_of(module: torch.nn.Module, names: Names) -> int:
    """Positions that an encoder's table has."""
    return position_table(module).num_embeddings - names.first_position


def extend_positions(module: torch.nn.Module, seq_len: int, names: Names = BERT) -> bool:
    """Repeat the rows of an encoder's position table up to ``seq_len``, in place; whether that was needed.

    What such a model says means nothing; its shapes and kernels are those of a longer table.
    """
    import torch

    embeddings: Any = module.embeddings
    table = position_table(module).weight
    first, known = names.first_position, positions_of(module, names)
    if seq_len <= known:
        return False
    rows = torch.cat([torch.arange(first), first + torch.arange(seq_len) % known])
    embeddings.position_embeddings = torch.nn.Embedding.from_pretrained(table[rows].clone(), freeze=True)
    embeddings.position_ids = torch.arange(len(rows)).expand((1, -1))
    if "token_type_ids" in dict(embeddings.named_buffers()):
        embeddings.token_type_ids = torch.zeros((1, len(rows)), dtype=torch.long)
    return True
