"""How often what is measured: the presets of ``conf/measure`` are instances of one class."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from icd.errors import ConfigError

BLOCK_SECONDS = 0.3  # a block without energy on a slow device: long against a scheduler's time slice


@dataclass(frozen=True)
class Protocol:
    """Processes of allocations of rounds of blocks.

    A block is ``repeats`` consecutive iterations of one arm; a round holds one block of every arm in a
    balanced order; an allocation is a fresh copy of all arms; a process a fresh child process, and the
    statistical unit. ``repeats=auto``: 20 iterations, or as many as 0.3 s take (2 at least) where one
    takes longer than 15 ms.
    """

    name: str
    processes: int
    allocations: int
    rounds: int
    repeats: int | Literal["auto"]
    warmup_iter: int
    ncu_enable: bool
    power_enable: bool

    def __post_init__(self) -> None:
        for key in ("processes", "allocations", "rounds"):
            if getattr(self, key) < 1:
                raise ConfigError(f"measure.{key}={getattr(self, key)}: expected 1 or more")
        if self.repeats != "auto" and self.repeats < 1:
            raise ConfigError(f"measure.repeats={self.repeats}: expected auto, or 1 or more")
        if self.warmup_iter < 0:
            raise ConfigError(f"measure.warmup_iter={self.warmup_iter}: expected 0 or more")

    def block_iterations(self, iteration_ms: float) -> int:
        """Iterations of one block for a step that takes ``iteration_ms``."""
        if self.repeats != "auto":
            return self.repeats
        if iteration_ms <= 15.0:
            return 20
        return max(2, min(20, math.ceil(1e3 * BLOCK_SECONDS / iteration_ms)))
