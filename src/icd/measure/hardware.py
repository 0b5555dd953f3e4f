"""Figures of a device that simulation and rooflines need."""

from __future__ import annotations

from dataclasses import dataclass

from icd.errors import ConfigError


@dataclass(frozen=True)
class Hardware:
    """L2 geometry, rates and energies; sizes in bytes, rates in GB/s and TFLOP/s, energies in pJ a byte."""

    name: str
    l2_bytes: int
    l2_ways: int
    line_bytes: int
    sector_bytes: int
    dram_gb_s: float
    l2_gb_s: float
    tflops: dict[str, float]
    launch_us: float
    idle_watts: float
    busy_watts: float
    dram_pj_byte: float

    def __post_init__(self) -> None:
        if self.l2_bytes % (self.l2_ways * self.line_bytes):
            raise ConfigError(
                f"hardware={self.name}: l2_bytes must be a multiple of l2_ways x line_bytes = "
                f"{self.l2_ways * self.line_bytes}"
            )


@dataclass(frozen=True)
class Auto:
    """Stands for the device that the run executes on; nothing is simulated, so no figure is needed."""
