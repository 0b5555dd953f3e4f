"""The user's own prompts as timed inputs: a list of texts, or a UTF-8 file with one per line.

Timed inputs have no padding, for every position is a token that is counted. So a prompt shorter than the
sequence is read again from its start, and a longer one is cut. Row k takes prompt k, from the first again
where there are more rows than prompts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icd.errors import ConfigError
from icd.model.hub import cached
from icd.model.lines import check_size, check_text
from icd.model.text import LARGEST, read_own, texts_used
from icd.model.tokens import has_tokenizer, load_tokenizer
from icd.model.weights import data_folder

if TYPE_CHECKING:
    import torch

Prompts = list[str] | str | None
MOST = 1 << 24  # tokens of the timed inputs


def read(prompts: list[str] | str) -> tuple[str, ...]:
    """The prompts, of the list or of the file; ConfigError where there are none or one is empty."""
    if isinstance(prompts, str):
        return read_own("prompts", prompts)
    if not prompts:
        raise ConfigError("model.prompts=[]: expected a text or more, or a file with one per line")
    check_size(prompts, "model.prompts", LARGEST["prompts"])
    for number, prompt in enumerate(prompts, 1):
        check_text(prompt, f"model.prompts: text {number} of {len(prompts)}")
    return tuple(prompts)


def check_prompts(prompts: Prompts, model: str, weights: str, repo: str | None) -> None:
    """ConfigError for prompts that cannot be read, or tokenised where ``weights`` are random."""
    if prompts is None:
        return
    read(prompts)
    if weights == "random":
        tokenizer_folder(model, repo)


def tokenizer_folder(model: str, repo: str | None) -> Path:
    """Where ICD_DATA_DIR or the hub's cache holds the tokenizer of ``repo``; else ConfigError."""
    places = () if repo is None else (data_folder(repo), cached(repo))
    for folder in places:
        if folder is not None and has_tokenizer(folder):
            return folder
    raise ConfigError(
        f"model.prompts need a tokenizer, and model={model} has random weights and none here; use trained "
        + ("weights with model.weights=DIR" if repo is None else f"weights: icd fetch model={model}")
    )


def own_inputs(
    prompts: Prompts,
    folder: Path | None,
    *,
    model: str,
    repo: str | None,
    batch_size: int | None,
    seq_len: int | None,
    positions: int | None = None,
) -> torch.Tensor | None:
    """Token ids (batch, seq_len) of ``prompts``; None where there are none.

    ``folder``: the trained weights with their tokenizer; None where weights are random. ``positions`` as for
    `encode`.
    """
    if prompts is None:
        return None
    tokenizer = load_tokenizer(tokenizer_folder(model, repo) if folder is None else folder)
    return encode(tokenizer, read(prompts), batch_size, seq_len, positions)


def encode(
    tokenizer: Any,
    prompts: tuple[str, ...],
    batch_size: int | None,
    seq_len: int | None,
    positions: int | None = None,
) -> torch.Tensor:
    """Token ids, int64 (``batch_size`` or one row a prompt, ``seq_len`` or the longest prompt's tokens).

    ConfigError for a text without tokens, and where no ``seq_len`` cuts one of more than ``positions``.
    """
    import torch

    rows = [torch.tensor(ids, dtype=torch.long) for ids in tokenizer(list(prompts))["input_ids"]]
    for number, row in enumerate(rows, 1):
        if not len(row):
            raise ConfigError(f"model.prompts: text {number} of {len(rows)} gives no tokens")
        if positions is not None and seq_len is None and len(row) > positions:
            raise ConfigError(
                f"model.prompts: text {number} has {len(row)} tokens and the model's position table "
                f"{positions}; seq_len={positions} cuts it, model.extend_positions=true takes it whole"
            )
    length, batch = seq_len or max(len(row) for row in rows), batch_size or len(rows)
    if batch * length > MOST:
        raise ConfigError(
            f"model.prompts: {batch} rows of {length} tokens are more than {MOST} tokens in one forward; "
            "use fewer or shorter texts, batch_size or seq_len"
        )
    index = torch.arange(length)
    return torch.stack([row[index % len(row)] for row in (rows[k % len(rows)] for k in range(batch))])


def rows_of(prompts: Prompts, batch_size: int | None, default: int) -> int:
    """Rows of the timed inputs."""
    return batch_size or (default if prompts is None else len(read(prompts)))


def prompts_used(prompts: Prompts, rows: int) -> dict[str, Mapping[str, Any]]:
    """For the record: ``prompts`` with count, those used in ``rows`` rows, SHA-256 and a file's base name.

    The digest of a list is that of a file which holds its texts, each with a line feed.
    """
    if prompts is None:
        return {}
    texts = read(prompts)
    count = {"count": len(texts), "used": min(rows, len(texts))}
    if isinstance(prompts, str):
        return {"prompts": {**texts_used(prompts=prompts)["prompts"], **count}}
    data = "".join(f"{text}\n" for text in texts).encode()
    return {"prompts": {"file": None, "sha256": hashlib.sha256(data).hexdigest(), **count}}
