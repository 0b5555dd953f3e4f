"""A Mamba of two small layers with random weights, for tests and first looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icd.model.mamba import Mamba, Shape


@dataclass(frozen=True)
class MambaTiny(Mamba):
    """Two layers, hidden 128, d_inner 256; nobody trains such a model."""

    shape: ClassVar[Shape] = Shape(hidden_size=128, num_hidden_layers=2, vocab_size=1000)
