"""Simulated figures of a step on a device that is not here: L2 share, DRAM bytes, latency, energy.

Every linear layer is read as an engine reads it: panel after panel of output rows, each once for every
128 tokens, activations streamed beside it; a panel has 128 rows where that gives enough tiles to fill a
device, else 64. Activations pass through two buffers that take turns, so that a layer finds what the one
before it wrote. A module that has a recorded trace is read as recorded, without arithmetic. The trace of
cache lines runs through a set-associative LRU cache; latency is the roofline of arithmetic, L2 and DRAM traffic
plus launches; energy is idle power over that time plus what arithmetic and DRAM traffic cost. Nothing here
is measured, and every value says so. docs/SOP.md says how far it is from counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from icd.contracts import AccessTrace, LinearLike, Reads
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
    """One forward in the warm regime: the cache holds what the previous forward left."""

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

    def lines(self, tokens: int, width: int, line: int, base: int, given: int = 0) -> tuple[np.ndarray, int]:
        """See `layer_trace`."""
        return layer_trace(self, tokens, width, line, base, given)

    def written(self, tokens: int, width: int, line: int) -> int:
        """Lines of the output."""
        return tokens * -(-self.out * width // line)

    def read(self, tokens: int, width: int, line: int) -> int:
        """Lines of the input."""
        return tokens * -(-self.inner * width // line)


@dataclass(frozen=True)
class Replay:
    """Recorded reads of a module."""

    reads: Reads

    def flops(self, tokens: int) -> float:
        """None: moving bytes is all that a trace does."""
        return 0.0

    def lines(self, tokens: int, width: int, line: int, base: int, given: int = 0) -> tuple[np.ndarray, int]:
        """See `replay_trace`."""
        return replay_trace(self.reads, width, line, base)

    def written(self, tokens: int, width: int, line: int) -> int:
        """None."""
        return 0

    def read(self, tokens: int, width: int, line: int) -> int:
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
    sets = hardware.l2_bytes // (hardware.l2_ways * hardware.line_bytes)
    tags = np.full((sets, hardware.l2_ways), -1, np.int64)
    ages = np.zeros((sets, hardware.l2_ways), np.int64)
    clock = np.zeros(1, np.int64)
    seconds = joules = hits = misses = 0.0
    shape = (tokens, width, hardware.line_bytes)
    buffer = max((max(layer.read(*shape), layer.written(*shape)) for layer in layers), default=0)
    for timed in (False, True):  # the first forward warms the cache
        base = 2 * buffer
        for number, layer in enumerate(layers):
            given, left = buffer * (number % 2), buffer * ((number + 1) % 2)
            trace, base = layer.lines(*shape, base, given)
            hit, miss = replay(trace, tags, ages, clock)
            replay(left + np.arange(layer.written(*shape), dtype=np.int64), tags, ages, clock)
            if not timed:
                continue
            flops = layer.flops(tokens)
            l2, dram = (hit + miss) * hardware.line_bytes, miss * hardware.line_bytes
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
        dram_bytes=misses * hardware.line_bytes,
        l2_bytes=(hits + misses) * hardware.line_bytes,
    )


def panel_rows(out: int, tokens: int) -> int:
    """Weight rows of a panel."""
    tiles = -(-out // PANEL_ROWS) * -(-tokens // TOKEN_ROWS)
    return PANEL_ROWS if tiles >= ENOUGH_TILES else SMALL_PANEL_ROWS


def layer_trace(
    layer: Layer, tokens: int, width: int, line: int, base: int, given: int
) -> tuple[np.ndarray, int]:
    """Line numbers read by one layer whose weights begin at ``base`` and whose input at ``given``, and the
    first line number behind its weights.

    Order: for each panel of weight rows, for each block of 128 tokens: the panel, then the block's
    activations.
    """
    row_lines = -(-layer.inner * width // line)
    weights = base + np.arange(layer.out * row_lines, dtype=np.int64)
    inputs = given + np.arange(tokens * row_lines, dtype=np.int64)
    rows = panel_rows(layer.out, tokens)
    parts = []
    for first in range(0, layer.out, rows):
        panel = weights[first * row_lines : (first + rows) * row_lines]
        for token in range(0, tokens, TOKEN_ROWS):
            parts += [panel, inputs[token * row_lines : (token + TOKEN_ROWS) * row_lines]]
    return np.concatenate(parts), base + layer.out * row_lines


def replay_trace(reads: Reads, width: int, line: int, base: int) -> tuple[np.ndarray, int]:
    """Line numbers of recorded reads of ``width`` bytes an element, and the first one behind their data.

    A read that spans several lines reads all of them, in order.
    """
    first = reads.first * width // line
    count = ((reads.first + reads.length) * width - 1) // line - first + 1
    start = np.repeat(np.cumsum(count) - count, count)
    lines = base + np.repeat(first, count) + np.arange(count.sum()) - start
    return lines.astype(np.int64), base + -(-reads.span * width // line)
