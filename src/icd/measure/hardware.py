"""Figures of a device that simulation and rooflines need: from a file, or read from the device itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from icd.errors import ConfigError

SAME = 0.10  # a file's L2 size that is farther than this from the one read is another device's
SAME_RATE = 0.25  # the same of memory bandwidth: files may hold what copies reach, not the datasheet


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
        sectors, rest = divmod(self.line_bytes, self.sector_bytes) if self.sector_bytes > 0 else (0, 0)
        if rest or not 1 <= sectors <= 62:  # a line's sectors are the bits of an int64
            raise ConfigError(
                f"hardware={self.name}: line_bytes={self.line_bytes} must be 1 to 62 sectors of "
                f"sector_bytes={self.sector_bytes}"
            )


@dataclass(frozen=True)
class Auto:
    """Stands for the device that the run executes on, which is read where it can be seen (`resolve`).

    It has no figures before that, and never those of energy or launches, so nothing is simulated with it.
    """


def read(device: str) -> dict[str, Any]:
    """The figures of the device that ``device`` (``cpu`` or ``cuda:N``) names, as found now."""
    if device.startswith("cuda"):
        from icd.measure.gpu_figures import read_gpu

        return read_gpu(device)
    from icd.measure.cpu_figures import read_cpu

    return read_cpu()


def resolve(
    asked: Hardware | Auto,
    device: str,
    *,
    simulated: bool,
    look: Callable[[str], dict[str, Any]] = read,
) -> dict[str, Any]:
    """``hardware`` of ``metrics.json``: the figures in force, where they are from, what speaks against them.

    ``source``: ``read`` from the device, or from the ``file`` that the configuration names; ``is_device``:
    whether they are those of what the run executes on; ``notes``: sentences for the reader. A named file is
    compared with the device, which is then recorded as ``found``.
    """
    if isinstance(asked, Auto):
        found = look(device)
        return {"asked": "auto", "source": "read", "is_device": True, **found}
    named = {"asked": asked.name, "source": "file", **asdict(asked)}
    if simulated:
        note = f"the run executes on {device}; the device of these figures is simulated"
        return {**named, "is_device": False, "notes": [note]}
    found = look(device)
    against = contradictions(asked, found)
    return {**named, "is_device": not against, "notes": against, "found": found}


def contradictions(asked: Hardware, found: Mapping[str, Any]) -> list[str]:
    """Why the named figures cannot be those of the device found, a sentence each; [] where they can."""
    if found["kind"] == "cpu":
        return [
            f"hardware={asked.name} holds figures of a file, and the run executes on the CPU of this machine "
            f"({found['name']}): no roofline is drawn from them; hardware=auto reads the machine"
        ]
    out = []
    if not re.search(rf"\b{re.escape(asked.name)}\b", str(found["name"]), re.IGNORECASE):  # GH200 is no H200
        out.append(f"hardware={asked.name} is named, and the device calls itself {found['name']}")
    for key, unit, limit in (("l2_bytes", "bytes of L2", SAME), ("dram_gb_s", "GB/s of memory", SAME_RATE)):
        said, seen = getattr(asked, key), found[key]
        if seen and abs(said - seen) > limit * seen:
            out.append(f"hardware={asked.name} has {said:g} {unit}, and the device has {seen:g}")
    return out
