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

    ``power_rounds``: rounds of energy blocks (5.5 s of each arm) after the latency rounds of the first
    allocation of each process, on a GPU; ``power_sample_hz``: readings of the power draw a second, for
    ``power.csv``. ``ncu_repetitions``: processes in which every arm's forward is profiled, caches warm and
    cold; an interval needs 3. ``ncu_kernels``: one process more, kernel by kernel, the cache neither.
    ``l2_compared``: the figure of the L2 that is compared and gated; both are recorded.
    ``cold_rounds``: rounds with the L2 flushed before each iteration, outside its events, on a GPU.

    ``stop=fixed``: ``rounds`` rounds. ``stop=adaptive``: whole balanced cycles of rounds, at least
    ``rounds``, until inside the process every comparison's interval over rounds is no wider than
    ``target_width_pct``, or the process's latency rounds have taken ``time_budget_s``: see
    `icd.measure.adaptive`.
    """

    name: str
    processes: int
    allocations: int
    rounds: int
    repeats: int | Literal["auto"]
    warmup_iter: int
    ncu_enable: bool
    power_enable: bool
    ncu_repetitions: int = 0
    ncu_kernels: bool = False
    l2_compared: Literal["served_pct", "lookup_hit_pct"] = "served_pct"
    cold_rounds: int = 0
    power_rounds: int = 0
    power_sample_hz: float = 10.0
    stop: Literal["fixed", "adaptive"] = "fixed"
    target_width_pct: float = 1.0
    time_budget_s: float = 60.0

    def __post_init__(self) -> None:
        for key in ("processes", "allocations", "rounds"):
            if getattr(self, key) < 1:
                raise ConfigError(f"measure.{key}={getattr(self, key)}: expected 1 or more")
        if self.repeats != "auto" and self.repeats < 1:
            raise ConfigError(f"measure.repeats={self.repeats}: expected auto, or 1 or more")
        for key in ("warmup_iter", "ncu_repetitions", "power_rounds", "cold_rounds"):
            if getattr(self, key) < 0:
                raise ConfigError(f"measure.{key}={getattr(self, key)}: expected 0 or more")
        if not 0 <= self.power_sample_hz <= 100:
            raise ConfigError(f"measure.power_sample_hz={self.power_sample_hz}: expected 0 to 100")

        for key in ("target_width_pct", "time_budget_s"):
            if getattr(self, key) <= 0:
                raise ConfigError(f"measure.{key}={getattr(self, key)}: expected more than 0")

    def no_energy(self) -> str | None:
        """Why no energy is to be measured; None where it is."""
        if not self.power_enable:
            return "measure.power_enable=false"
        return None if self.power_rounds else "measure.power_rounds=0"

    def no_l2(self) -> str | None:
        """Why no forward is to be profiled; None where some are."""
        if not self.ncu_enable:
            return "measure.ncu_enable=false"
        return None if self.ncu_repetitions else "measure.ncu_repetitions=0"

    def block_iterations(self, iteration_ms: float) -> int:
        """Iterations of one block for a step that takes ``iteration_ms``."""
        if self.repeats != "auto":
            return self.repeats
        if iteration_ms <= 15.0:
            return 20
        return max(2, min(20, math.ceil(1e3 * BLOCK_SECONDS / iteration_ms)))
