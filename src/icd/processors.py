"""The name of the processor that this runs on."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_model(info: Path = Path("/proc/cpuinfo")) -> str:
    """As the kernel names it; the architecture where it does not."""
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
