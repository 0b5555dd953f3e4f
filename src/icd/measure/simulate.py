"""Simulated figures of a step on a device that is not here: L2 share, DRAM bytes, latency, energy.

Every linear layer is read as an engine reads it: panel after panel of 64 output rows, each once for
every 128 tokens, activations streamed beside it; a module that has a recorded trace is read as recorded,
without arithmetic. The trace of cache lines runs through a set-associative
LRU cache; latency is the roofline of arithmetic, L2 and DRAM traffic plus launches; energy is idle power
over that time plus what arithmetic and DRAM traffic cost. Nothing here is measured, and every value
says so.
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

PANEL_ROWS = 64
TOKEN_ROWS = 128
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

    def lines(self, tokens: int, width: int, line: int, base: int) -> tuple[np.ndarray, int]:
        """See `layer_trace`."""
        return layer_trace(self, tokens, width, line, base)


@dataclass(frozen=True)
class Replay:
    """Recorded reads of a module."""

    reads: Reads

    def flops(self, tokens: int) -> float:
        """None: moving bytes is all that a trace does."""
        return 0.0

    def lines(self, tokens: int, width: int, line: int, base: int) -> tuple[np.ndarray, int]:
        """See `replay_trace`."""
        return replay_trace(self.reads, width, line, base)


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
    for timed in (False, True):  # the first forward warms the cache
        base = 0
        for layer in layers:
            trace, base = layer.lines(tokens, width, hardware.line_bytes, base)
            hit, miss = replay(trace, tags, ages, clock)
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


def layer_trace(layer: Layer, tokens: int, width: int, line: int, base: int) -> tuple[np.ndarray, int]:
    """Line numbers read by one layer, and the first line number behind its data.

    Order: for each panel of 64 weight rows, for each block of 128 tokens: the panel, then the block's
    activations.
    """
    row_lines = -(-layer.inner * width // line)
    weights = base + np.arange(layer.out * row_lines, dtype=np.int64)
    inputs = base + layer.out * row_lines + np.arange(tokens * row_lines, dtype=np.int64)
    parts = []
    for first in range(0, layer.out, PANEL_ROWS):
        panel = weights[first * row_lines : (first + PANEL_ROWS) * row_lines]
        for token in range(0, tokens, TOKEN_ROWS):
            parts += [panel, inputs[token * row_lines : (token + TOKEN_ROWS) * row_lines]]
    return np.concatenate(parts), base + (layer.out + tokens) * row_lines


def replay_trace(reads: Reads, width: int, line: int, base: int) -> tuple[np.ndarray, int]:
    """Line numbers of recorded reads of ``width`` bytes an element, and the first one behind their data.

    A read that spans several lines reads all of them, in order.
    """
    first = reads.first * width // line
    count = ((reads.first + reads.length) * width - 1) // line - first + 1
    start = np.repeat(np.cumsum(count) - count, count)
    lines = base + np.repeat(first, count) + np.arange(count.sum()) - start
    return lines.astype(np.int64), base + -(-reads.span * width // line)
