"""Sentences as token tensors: those that the package ships, or the user's own, one per line.

Timed inputs are running text without padding. Calibration takes sentences as a model meets them, each
alone with its special tokens, and batches those of equal length, so that nothing is padded either.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icd.errors import ConfigError, MissingResource
from icd.model.lines import MIB, lines_of, read_lines

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

TIMED_SENTENCES = 200  # of the shipped text, left to the timed inputs
LARGEST = {"prompts": MIB}  # bytes of a text; every one of the timed prompts is tokenised
LARGE = 16 * MIB  # of any other, of which no more is tokenised than is asked for
AT_ONCE = 256  # sentences that a tokenizer is given together


def locate(key: str, file: str | None) -> Path | None:
    """The user's text ``file``, as it is or below ICD_DATA_DIR; MissingResource where it is not."""
    if file is None:
        return None
    for path in (Path(file), Path(os.environ.get("ICD_DATA_DIR", ".")) / file):
        if path.is_file():
            return path
    raise MissingResource(
        f"model.{key}={Path(file).name!r}: no such file, here or below ICD_DATA_DIR; "
        "expected UTF-8 text, one sentence per line"
    )


def read_own(key: str, file: str) -> tuple[str, ...]:
    """The sentences of the user's text, as `icd.model.lines.read_lines` reads and refuses them.

    At most `LARGEST` bytes of a key, else `LARGE`.
    """
    path = locate(key, file)
    assert path is not None
    return read_lines(path, key, LARGEST.get(key, LARGE))


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
    return tuple(line for line in lines_of(text) if line)


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
    for ids in _encoded(tokenizer, lines, max_length):
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


def _encoded(tokenizer: Any, lines: Sequence[str], max_length: int) -> Iterator[list[int]]:
    """Token ids of each line in order; the tokenizer sees no more lines than are asked for, and a few."""
    for first in range(0, len(lines), AT_ONCE):
        some = list(lines[first : first + AT_ONCE])
        yield from tokenizer(some, truncation=True, max_length=max_length)["input_ids"]


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
