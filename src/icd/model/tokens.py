"""Token inputs of language models: timed ones, calibration, probes; of real text or at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from icd.errors import ConfigError, MissingResource, first_line

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from icd.contracts import Inputs

BATCH, LENGTH = 8, 128  # of a calibration batch
PROBE = 64  # tokens of a probe at most


class Tokens(NamedTuple):
    """Timed inputs, calibration batches and probes, all ``{"input_ids": (batch, seq_len)}``."""

    inputs: Inputs
    calibration: tuple[Inputs, ...]
    probes: tuple[Inputs, ...]


def check_ids(model: str, vocabulary: int, own: torch.Tensor | None, tokens: Tokens) -> None:
    """ConfigError where a tokenizer knows more tokens than ``model`` has embeddings.

    ``own``: token ids of the user's prompts, (batch, seq_len), which stand for the timed inputs.
    """
    timed = ("the timed text", tokens.inputs) if own is None else ("model.prompts", {"input_ids": own})
    batches = [timed]
    batches += [("the calibration text", batch) for batch in tokens.calibration]
    batches += [("the probe text", batch) for batch in tokens.probes]
    for what, batch in batches:
        largest = int(batch["input_ids"].max())
        if largest >= vocabulary:
            raise ConfigError(
                f"{what}: the tokenizer gives id {largest} and model={model} has {vocabulary} embeddings; "
                "they do not belong together"
            )


def check_calibration(tokens: int) -> None:
    """ConfigError unless ``model.calibration_tokens`` asks for a token or more."""
    if tokens < 1:
        raise ConfigError(f"model.calibration_tokens={tokens}: expected a whole number of 1 or more")


def chunks(calibration_tokens: int) -> int:
    """Calibration batches that hold at least so many tokens; at least one."""
    return max(1, -(-calibration_tokens // (BATCH * LENGTH)))


def random_tokens(
    low: int,
    high: int,
    shape: tuple[int, int],
    calibration_tokens: int,
    seed: int,
    *,
    longest: int = LENGTH,
) -> Tokens:
    """Uniform ids from ``low`` up to ``high``; no probes, for they would say nothing.

    ``longest``: tokens that a sequence of calibration may have, where a position table is short.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)

    # random tokens tell no more when there are more of them
    batches = chunks(min(calibration_tokens, 2048))

    def draw(*shape: int) -> dict[str, torch.Tensor]:
        return {"input_ids": torch.randint(low, high, shape, generator=generator, device="cpu")}

    return Tokens(draw(*shape), tuple(draw(BATCH, min(LENGTH, longest)) for _ in range(batches)), ())


def has_tokenizer(folder: Path) -> bool:
    """Whether ``folder`` holds a tokenizer's vocabulary."""
    return (folder / "tokenizer.json").is_file() or (folder / "vocab.txt").is_file()


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in ``folder``, padding on the right.

    `MissingResource` where there is none, ConfigError where it cannot be read or has no token to pad with.
    """
    from transformers import AutoTokenizer

    if not has_tokenizer(folder):
        raise MissingResource(
            f"model.weights: the directory {folder.name!r} holds weights and no tokenizer; "
            "put tokenizer.json beside them"
        )
    where = f"model.weights: the tokenizer in the directory {folder.name!r}"
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right", local_files_only=True)
    except Exception as error:  # the tokenizers library raises nothing narrower
        why = first_line(error).replace(str(folder), folder.name)
        raise ConfigError(f"{where} cannot be read: {type(error).__name__}: {why}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise ConfigError(f"{where} has neither pad_token nor eos_token; name one in tokenizer_config.json")
    return tokenizer


def text_tokens(
    folder: Path,
    shape: tuple[int, int],
    calibration_tokens: int,
    probe_sentences: int,
    seed: int,
    *,
    calibration_text: str | None = None,
    probe_text: str | None = None,
    longest: int = LENGTH,
) -> Tokens:
    """The text that ships, or the user's files, through the tokenizer in ``folder``.

    Probes are padded on the right. ``longest``: tokens that a sentence may have, where a position table is
    short.

    Raises `MissingResource` where ``folder`` holds no tokenizer.
    """
    from icd.model.text import calibration_batches, packed, probe_batches

    tokenizer = load_tokenizer(folder)
    calibration = calibration_batches(
        tokenizer, calibration_tokens, calibration_text, max_length=min(LENGTH, longest)
    )
    inputs = {"input_ids": packed(tokenizer, *shape, start=seed)}
    probes = probe_batches(tokenizer, probe_sentences, probe_text, max_length=min(PROBE, longest))
    return Tokens(inputs, calibration, probes)
