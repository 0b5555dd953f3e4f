"""``quality=auto``: the metric that the model names as its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from icd.contracts import Inputs, Missing, ModelCard, Quality, Step
from icd.quality.cosine import Cosine
from icd.quality.none import NoQuality

METRICS: dict[str, type[Quality]] = {"cosine": Cosine, "none": NoQuality}


@dataclass(frozen=True)
class Auto:
    """Delegates to the metric named on the model's card."""

    def evaluate(
        self, step: Step, reference: Step, probes: Iterable[Inputs], card: ModelCard
    ) -> tuple[str, float] | Missing:
        """As the chosen metric."""
        return METRICS[card.quality]().evaluate(step, reference, probes, card)
