"""Cosine of pooled outputs to the dense float32 model's: for sentence encoders, of the embeddings.

Pooling is the mean over the tokens that the attention mask names, as all-MiniLM-L6-v2 was trained.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from icd.contracts import Inputs, Missing, ModelCard, Step

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Cosine:
    """Mean cosine over all sequences of the probes; 1 is the dense model itself."""

    def evaluate(
        self, step: Step, reference: Step, probes: Iterable[Inputs], card: ModelCard
    ) -> tuple[str, float] | Missing:
        """``("cosine", mean)``; `Missing` for random weights, extended positions or without probes."""
        import torch

        if card.weights == "random":
            return Missing("random weights: an output says nothing about quality")
        if "extended-positions" in card.tags:
            return Missing("the position table was extended by repetition")
        cosines = []
        for probe in probes:
            mask = probe.get("attention_mask")
            a, b = pooled(step.on(probe), mask), pooled(reference.on(probe), mask)
            cosines.append(torch.nn.functional.cosine_similarity(a, b, dim=-1))
        if not cosines:
            return Missing(f"model={card.name} has no probes")
        return "cosine", float(torch.cat(cosines).mean())


def pooled(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(batch, seq, width) to float64 (batch, width), the mean over unmasked tokens, on the CPU."""
    hidden = hidden.double().cpu()
    if mask is None:
        return hidden.mean(1)
    weight = mask.double().cpu()[..., None]
    return (hidden * weight).sum(1) / weight.sum(1)
