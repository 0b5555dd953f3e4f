"""Cosine of outputs to the dense float32 model's, a row of the batch at a time.

    (batch, width)              logits of a classifier, embeddings: the row as it is
    (batch, seq, width)         hidden states, logits of tokens: the mean over the tokens that the attention
                                mask names (over all without one), as all-MiniLM-L6-v2 was trained
    (batch, ...) of more        images: all values of the row
    (batch,), (batch, 1), ()    none: one number has no direction

Weights that are random have no quality. Those of unknown origin have: the cosine says how far the answers of
the same weights moved, and the run is tagged for it.
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
        """``("cosine", mean)``; `Missing` for random weights, extended positions, without probes, and for
        outputs without a direction or with what is no number.
        """
        import torch

        if card.weights == "random":
            return Missing("random weights: an output says nothing about quality")
        if "extended-positions" in card.tags:
            return Missing("the position table was extended by repetition")
        cosines = []
        for probe in probes:
            mask = probe.get("attention_mask")
            ours, theirs = step.on(probe), reference.on(probe)
            if theirs.dim() < 2 or theirs[0].numel() < 2:
                shape = tuple(theirs.shape)
                return Missing(f"an output of shape {shape} is one number a row, which has no direction")
            a, b = pooled(ours, mask), pooled(theirs, mask)
            if not (torch.isfinite(a).all() and torch.isfinite(b).all()):
                return Missing("outputs on the probes hold NaN or infinity")
            if not b.any(1).all():
                return Missing(
                    f"{int((~b.any(1)).sum())} of {len(b)} outputs of the dense model on a probe are zero "
                    "everywhere, which has no direction"
                )
            cosines.append(torch.nn.functional.cosine_similarity(a, b, dim=-1))
        if not cosines:
            return Missing(f"model={card.name} has no probes")
        return "cosine", float(torch.cat(cosines).mean())


def pooled(out: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Output (batch, ...) to float64 (batch, width) on the CPU: see above; ``mask`` is (batch, seq)."""
    out = out.double().cpu()
    if out.dim() != 3:
        return out.flatten(1)
    if mask is None or mask.shape != out.shape[:2]:
        return out.mean(1)
    weight = mask.double().cpu()[..., None]
    return (out * weight).sum(1) / weight.sum(1)
