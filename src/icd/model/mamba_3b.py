"""mamba-2.8b (Gu and Dao 2023, arXiv 2312.00752), as `icd.model.mamba` builds it.

It is built in float32 on the CPU: 10.3 GiB of weights, and at the peak of a run about ten times that beside a
GPU, sixteen times without one (`icd.model.memory` says why). A machine with less gets one sentence before
anything is built. On a GPU in bf16 an arm takes 5.2 GiB of device memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from icd.model.mamba import Mamba, Shape


@dataclass(frozen=True)
class Mamba3B(Mamba):
    """64 layers, hidden 2560, d_inner 5120."""

    shape: ClassVar[Shape] = Shape(hidden_size=2560, num_hidden_layers=64)
