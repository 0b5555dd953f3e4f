"""Real sentences that the package ships, as token tensors."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from icd.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs


@cache
def sentences(name: str) -> tuple[str, ...]:
    """The sentences of ``calibration`` or ``probes`` (``src/icd/data/README.md`` says where from)."""
    text = (files("icd") / "data" / f"{name}.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if line)


def packed(tokenizer: Any, batch: int, seq_len: int, start: int = 0) -> torch.Tensor:
    """``(batch, seq_len)`` token ids of running text without padding, from token ``start`` on.

    The text repeats where it is shorter than what is asked for.
    """
    import torch

    stream = _stream(tokenizer)
    need = batch * seq_len
    index = (torch.arange(start, start + need)) % len(stream)
    return stream[index].reshape(batch, seq_len)


@cache
def _stream(tokenizer: Any) -> torch.Tensor:
    import torch

    ids: list[int] = []
    for encoded in tokenizer(list(sentences("calibration")), add_special_tokens=True)["input_ids"]:
        ids.extend(encoded)
    return torch.tensor(ids, dtype=torch.long)


def probe_batches(tokenizer: Any, count: int, batch: int = 32, max_length: int = 64) -> tuple[Inputs, ...]:
    """Held-out sentences as padded batches with ``attention_mask``, shape (batch, <= max_length)."""
    lines = sentences("probes")
    if not 0 < count <= len(lines):
        raise ConfigError(
            f"model.probe_sentences={count}: expected 1 to {len(lines)}, the sentences that ship"
        )
    out: list[Inputs] = []
    for first in range(0, count, batch):
        encoded = tokenizer(
            list(lines[first : min(first + batch, count)]),
            padding=True,
            truncation=True,
            max_length=max_length,
            return_tensors="pt",
        )
        out.append({"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]})
    return tuple(out)
