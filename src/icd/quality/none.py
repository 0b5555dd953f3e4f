"""``quality=none``: null, with its reason."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from icd.contracts import Inputs, Missing, ModelCard, Step


@dataclass(frozen=True)
class NoQuality:
    """No quality is computed."""

    def evaluate(self, step: Step, reference: Step, probes: Iterable[Inputs], card: ModelCard) -> Missing:
        """Why there is no value."""
        return Missing("quality=none was asked for")
