"""What the BERT-like encoders share: their forward and their position table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from icd.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs


def last_hidden_state(module: torch.nn.Module, inputs: Inputs, layers: str = "encoder.layer") -> torch.Tensor:
    """Hidden states of the last of ``layers`` of an encoder, (batch, seq_len, hidden).

    Inputs without an ``attention_mask`` go through embeddings and layers directly: the model's own
    forward builds a mask of zeros while a CUDA graph is captured, and a mask takes flash attention away.
    """
    if "attention_mask" in inputs:
        return module(**inputs).last_hidden_state
    model: Any = module
    hidden = model.embeddings(input_ids=inputs["input_ids"])
    for layer in model.get_submodule(layers):
        hidden = layer(hidden)
    return hidden


def check_positions(asked: int, table: int, extend: bool, model: str) -> None:
    """ConfigError for a sequence beyond the position table, unless it is to be extended."""
    if asked > table and not extend:
        raise ConfigError(
            f"seq_len={asked}: model={model} has a position table of {table}; "
            "use a shorter sequence or model.extend_positions=true"
        )


def extend_positions(module: torch.nn.Module, seq_len: int) -> bool:
    """Repeat the rows of an encoder's position table up to ``seq_len``, in place; whether that was needed.

    What such a model says means nothing; its shapes and kernels are those of a longer table.
    """
    import torch

    embeddings: Any = module.embeddings
    table = embeddings.position_embeddings.weight
    if seq_len <= table.shape[0]:
        return False
    rows = torch.arange(seq_len) % table.shape[0]
    embeddings.position_embeddings = torch.nn.Embedding.from_pretrained(table[rows].clone(), freeze=True)
    embeddings.position_ids = torch.arange(seq_len).expand((1, -1))
    if "token_type_ids" in dict(embeddings.named_buffers()):
        embeddings.token_type_ids = torch.zeros((1, seq_len), dtype=torch.long)
    return True
