"""Simulated figures of a step on a device that is not here: L2 share, DRAM bytes, latency, energy.

Every linear layer is read as an engine reads it: panel after panel of output rows, each once for every
128 tokens, activations streamed beside it; a panel has 128 rows where that gives enough tiles to fill a
device, else 64. Activations pass through two buffers that take turns, so that a layer finds what the one
before it wrote. A module that has a recorded trace is read as recorded, without arithmetic. The trace runs
through a set-associative LRU cache of lines whose sectors are fetched when they are touched. Sectors that are
written come from no memory and their way back is not counted: DRAM bytes are reads alone. Latency is the
roofline of arithmetic, L2 and DRAM traffic plus launches; energy is idle power over that time plus what
arithmetic and DRAM traffic cost.
Nothing here is measured, and every value says so. docs/SOP.md says how far it is from counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import AccessTrace, LinearLike, Reads
from icd.measure.accesses import Accesses, Geometry, panels, recorded, written
from icd.measure.hardware import Hardware

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs

PANEL_ROWS, SMALL_PANEL_ROWS = 128, 64
TOKEN_ROWS = 128
ENOUGH_TILES = 16  # of the larger panels, below which a library takes smaller ones
FLOAT_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}


@dataclass(frozen=True)
class Simulated:
    """One forward in the warm regime: the cache holds what the previous forward left.

    ``dram_bytes``, read from memory, and ``l2_bytes``, read through the cache, are of whole sectors;
    ``served_pct``: 100 (1 - dram_bytes / l2_bytes).
    """

    latency_ms: float
    energy_j: float
    served_pct: float
    dram_bytes: float
    l2_bytes: float


@dataclass(frozen=True)
class Layer:
    """A linear layer as the simulator sees it: (out, in) of its executed weight."""

    out: int
    inner: int

    def flops(self, tokens: int) -> float:
        """Two for each weight and token."""
        return 2.0 * self.out * self.inner * tokens

    def accesses(
        self, tokens: int, width: int, geometry: Geometry, base: int, given: int
    ) -> tuple[Accesses, int]:
        """Reads of weights that begin at line ``base`` and of an input at ``given``; the line behind both."""
        size, rows = self.inner * width, panel_rows(self.out, tokens)
        reads = panels(self.out, rows, tokens, TOKEN_ROWS, size, geometry, base, given)
        return reads, base + self.out * geometry.lines(size)

    def writes(self, tokens: int, width: int, geometry: Geometry, base: int) -> Accesses:
        """The output, from line ``base`` on."""
        return written(tokens, self.out * width, geometry, base)

    def buffer(self, tokens: int, width: int, geometry: Geometry) -> int:
        """Lines that the larger of input and output needs."""
        return tokens * geometry.lines(max(self.inner, self.out) * width)


@dataclass(frozen=True)
class Replay:
    """Recorded reads of a module."""

    reads: Reads

    def flops(self, tokens: int) -> float:
        """None: moving bytes is all that a trace does."""
        return 0.0

    def accesses(
        self, tokens: int, width: int, geometry: Geometry, base: int, given: int
    ) -> tuple[Accesses, int]:
        """What was recorded, of data from line ``base`` on; the first line behind them."""
        return recorded(self.reads, width, geometry, base), base + geometry.lines(self.reads.span * width)

    def writes(self, tokens: int, width: int, geometry: Geometry, base: int) -> Accesses:
        """None."""
        return written(0, width, geometry, base)

    def buffer(self, tokens: int, width: int, geometry: Geometry) -> int:
        """None beside what was recorded."""
        return 0


def linear_layers(module: torch.nn.Module) -> list[Layer]:
    """Executed linear layers in module order."""
    return [Layer(m.out_features, m.in_features) for m in module.modules() if isinstance(m, LinearLike)]


def executed_reads(module: torch.nn.Module, inputs: Inputs) -> list[Layer | Replay]:
    """All that one forward reads: linear layers, then modules with a recorded trace, in module order."""
    traced = [m for m in module.modules() if isinstance(m, AccessTrace)]
    return [*linear_layers(module), *(Replay(m.recorded_reads(inputs)) for m in traced)]


def simulate(layers: Sequence[Layer | Replay], tokens: int, precision: str, hardware: Hardware) -> Simulated:
    """Figures of one forward over ``tokens`` with weights and activations in ``precision``."""
    from icd.measure.cache import replay

    width = FLOAT_BYTES[precision]
    geometry = Geometry(hardware.line_bytes, hardware.sector_bytes)
    shape = (hardware.l2_bytes // (hardware.l2_ways * geometry.line), hardware.l2_ways)
    tags, valid, ages = np.full(shape, -1, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    state = (tags, valid, ages, np.zeros(1, np.int64))
    seconds = joules = hits = misses = 0.0
    buffer = max((layer.buffer(tokens, width, geometry) for layer in layers), default=0)
    for timed in (False, True):  # the first forward warms the cache
        base = 2 * buffer
        for number, layer in enumerate(layers):
            given, left = buffer * (number % 2), buffer * ((number + 1) % 2)
            reads, base = layer.accesses(tokens, width, geometry, base, given)
            hit, miss = replay(*reads, *state)
            replay(*layer.writes(tokens, width, geometry, left), *state)
            if not timed:
                continue
            flops = layer.flops(tokens)
            l2, dram = (hit + miss) * geometry.sector, miss * geometry.sector
            peak = hardware.tflops[precision] * 1e12
            time = max(flops / peak, l2 / (hardware.l2_gb_s * 1e9), dram / (hardware.dram_gb_s * 1e9))
            seconds += time + hardware.launch_us * 1e-6
            joules += (
                hardware.busy_watts - hardware.idle_watts
            ) * flops / peak + hardware.dram_pj_byte * 1e-12 * dram
            hits, misses = hits + hit, misses + miss
    return Simulated(
        latency_ms=1e3 * seconds,
        energy_j=joules + hardware.idle_watts * seconds,
        served_pct=100.0 * hits / max(1.0, hits + misses),
        dram_bytes=misses * geometry.sector,
        l2_bytes=(hits + misses) * geometry.sector,
    )


def panel_rows(out: int, tokens: int) -> int:
    """Weight rows of a panel."""
    tiles = -(-out // PANEL_ROWS) * -(-tokens // TOKEN_ROWS)
    return PANEL_ROWS if tiles >= ENOUGH_TILES else SMALL_PANEL_ROWS
