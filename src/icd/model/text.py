"""Sentences as token tensors: those that the package ships, or the user's own, one a line.

Timed inputs are running text without padding. Calibration takes sentences as a model meets them, each
alone with its special tokens, and batches those of equal length, so that nothing is padded either.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icd.errors import ConfigError, MissingResource

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

TIMED_SENTENCES = 200  # of the shipped text, left to the timed inputs


def locate(key: str, file: str | None) -> Path | None:
    """The user's text ``file``, as it is or below ICD_DATA_DIR; MissingResource where it is not."""
    if file is None:
        return None
    for path in (Path(file), Path(os.environ.get("ICD_DATA_DIR", ".")) / file):
        if path.is_file():
            return path
    raise MissingResource(
        f"model.{key}={Path(file).name!r}: no such file, here or below ICD_DATA_DIR; "
        "expected UTF-8 text, one sentence a line"
    )


def read_own(key: str, file: str) -> tuple[str, ...]:
    """The sentences of the user's text; ConfigError where it holds none or is no UTF-8."""
    path = locate(key, file)
    assert path is not None
    try:
        lines = tuple(line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip())
    except UnicodeDecodeError as error:
        raise ConfigError(f"model.{key}={path.name!r}: not UTF-8 (byte {error.start})") from error
    if not lines:
        raise ConfigError(f"model.{key}={path.name!r}: the file is empty")
    return lines


def texts_used(**named: str | None) -> dict[str, Mapping[str, Any]]:
    """For the record: base name and SHA-256 of each of the user's texts, by key."""
    found = {key: locate(key, file) for key, file in named.items()}
    return {
        key: {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for key, path in found.items()
        if path is not None
    }


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


def calibration_batches(
    tokenizer: Any, tokens: int, file: str | None, batch: int = 16, max_length: int = 128
) -> tuple[Inputs, ...]:
    """Sentences until ``tokens`` are reached (all, where there are fewer), each batch of one length.

    Shape (up to ``batch``, length) without padding or mask; batches in the order of their first sentence.
    """
    import torch

    lines: Sequence[str] = (
        sentences("calibration")[TIMED_SENTENCES:] if file is None else read_own("calibration_text", file)
    )
    open_batches: dict[int, list[list[int]]] = {}
    out: list[list[list[int]]] = []
    count = 0
    for ids in tokenizer(list(lines), truncation=True, max_length=max_length)["input_ids"]:
        rows = open_batches.setdefault(len(ids), [])
        if not rows:
            out.append(rows)
        rows.append(ids)
        if len(rows) == batch:
            del open_batches[len(ids)]
        count += len(ids)
        if count >= tokens:
            break
    return tuple({"input_ids": torch.tensor(rows, dtype=torch.long)} for rows in out)


def probe_batches(
    tokenizer: Any, count: int, file: str | None = None, batch: int = 32, max_length: int = 64
) -> tuple[Inputs, ...]:
    """Held-out sentences as padded batches with ``attention_mask``, shape (batch, <= max_length)."""
    lines = sentences("probes") if file is None else read_own("probe_text", file)
    if not 0 < count <= len(lines):
        raise ConfigError(
            f"model.probe_sentences={count}: expected 1 to {len(lines)}, the sentences that "
            f"{'ship' if file is None else Path(file).name + ' holds'}"
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
