"""mamba-2.8b (Gu and Dao 2023, arXiv 2312.00752), as `icd.model.mamba` builds it.

It is built in float32 on the CPU: 10.3 GiB of weights. `icd.pipeline.memory` estimates a run with six arms
over 2,048 tokens at 77 GiB beside a GPU, 115 GiB without one, and 33 GiB of the GPU itself in bf16, with one
allocation (from the second on 176 GiB without a GPU and 65 GiB of one); a machine with less gets one sentence
before anything is built.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icd.model.mamba import Mamba, Shape


@dataclass(frozen=True)
class Mamba3B(Mamba):
    """64 layers, hidden 2560, d_inner 5120."""

    shape: ClassVar[Shape] = Shape(hidden_size=2560, num_hidden_layers=64)
