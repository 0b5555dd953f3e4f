"""Whether a model fits into this machine's memory, before minutes go into building it."""

from __future__ import annotations

import os
from pathlib import Path

from icd.errors import MissingResource

# float32 copies of the weights alive at the peak of a run, in a measuring process: the dense and the
# transformed model, one laid out for each of six arms, two while an engine prepares a step; and where there
# is no GPU to hold them, the steps. The equivalence check in float64 takes fewer.
COPIES_WITH_GPU, COPIES_WITHOUT = 10, 16
DRIVER = Path("/proc/driver/nvidia/version")
GIB = 1 << 30


def available_bytes() -> int:
    """Memory that a new process can take: what the system has left, or what the container allows."""
    lines = _read(Path("/proc/meminfo")).splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if not free:
        free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit, used = (_read(Path("/sys/fs/cgroup") / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    return min(free)


def check_memory(model: str, params: int) -> None:
    """MissingResource where a run over ``params`` float32 weights does not fit."""
    copies = COPIES_WITH_GPU if DRIVER.exists() else COPIES_WITHOUT
    need, have = copies * 4 * params, available_bytes()
    if need > have:
        raise MissingResource(
            f"model={model} has {params / 1e9:.2f} billion parameters and a run needs about "
            f"{need / GIB:.0f} GiB of memory ({copies} float32 copies at its peak); "
            f"{have / GIB:.0f} GiB are available"
        )


def _read(path: Path) -> str:
    """The text of ``path``, empty where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
