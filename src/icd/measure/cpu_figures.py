"""What a CPU tells of its own figures; bandwidth and arithmetic, which it does not tell, are measured.

memory bandwidth   torch's copy of an array larger than the caches, read and written bytes, the best of
                   a fifth of a second or more, with the threads that a step has
fp32               torch's product of two square float32 matrices, the best of as long
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from icd.measure.environment import cpu

SECONDS = 0.2  # of repeating, behind one call that warms up
LEAST_COPY, MOST_COPY = 64 * 2**20, 256 * 2**20  # bytes of the array that is copied
SIDE = 1024  # of the matrices
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}
HOW = {
    "dram_gb_s": "measured: torch's copy of an array larger than the caches, bytes read and written",
    "tflops": f"measured: torch's product of two {SIDE} x {SIDE} float32 matrices",
    "l2_bytes": "level 2 of core 0, as the kernel shows it",
}
OTHER = "only fp32 is measured on a CPU"


def read_cpu(
    sys: Path = Path("/sys"),
    copy: Callable[[int], float] | None = None,
    product: Callable[[], float] | None = None,
) -> dict[str, Any]:
    """JSON-ready; what cannot be read is null beside ``<key>_reason``. Takes half a second.

    ``copy(bytes)`` in GB/s and ``product()`` in TFLOP/s: what is measured; `copy_gb_s` and `gemm_tflops`.
    """
    facts = cpu()
    found = caches(sys / "devices/system/cpu/cpu0/cache")
    largest = max((c["bytes"] for c in found), default=0)
    out: dict[str, Any] = {
        "name": facts["model"],
        "kind": "cpu",
        **usable_cores(facts["cores"], sys / "fs/cgroup"),
        "caches": found or None,
        **({} if found else {"caches_reason": "the kernel shows no caches of core 0"}),
    }
    level2 = next((c for c in found if c["level"] == 2), None)
    if level2:
        out |= {"l2_bytes": level2["bytes"], "l2_ways": level2["ways"], "line_bytes": level2["line_bytes"]}
        unread = [key for key in ("l2_ways", "line_bytes") if out[key] is None]
        out |= {f"{key}_reason": "the kernel does not tell" for key in unread}
    else:
        reason = "the kernel shows no level-2 cache of core 0"
        out |= {k: v for key in ("l2_bytes", "l2_ways", "line_bytes") for k, v in _none(key, reason)}
    out |= dict(_none("sector_bytes", "a CPU moves whole lines"))
    out["dram_gb_s"] = (copy or copy_gb_s)(min(MOST_COPY, max(LEAST_COPY, 2 * largest)))
    out |= {"tflops": {"fp32": (product or gemm_tflops)()}, "tflops_reason": OTHER}
    return {**out, "how": dict(HOW), "notes": []}


def _none(key: str, reason: str) -> tuple[tuple[str, Any], ...]:
    return (key, None), (f"{key}_reason", reason)


def usable_cores(affinity: int | None, cgroup: Path) -> dict[str, Any]:
    """``cores``: those that affinity and the control group's quota leave, the quota in parts of a core."""
    quota = _quota(cgroup)
    known = [float(n) for n in (affinity, quota) if n]
    return {"cores": min(known) if known else float(os.cpu_count() or 1)}


def _quota(cgroup: Path) -> float | None:
    """Cores that the control group allows (version 2, else 1); None without a limit."""
    two = cgroup / "cpu.max"
    if two.is_file():
        share, period = two.read_text().split()
        return None if share == "max" else int(share) / int(period)
    one, per = cgroup / "cpu/cpu.cfs_quota_us", cgroup / "cpu/cpu.cfs_period_us"
    if one.is_file() and per.is_file() and int(one.read_text()) > 0:
        return int(one.read_text()) / int(per.read_text())
    return None


def caches(folder: Path) -> list[dict[str, Any]]:
    """Data and unified caches below ``folder``, by level: ``{level, type, bytes, line_bytes, ways}``."""

    def word(index: Path, name: str) -> str:
        file = index / name
        try:
            return file.read_text().strip()
        except OSError:
            return ""  # the kernel leaves files out; the figure is then null

    out = []
    for index in sorted(folder.glob("index*")):
        size, kind, level = (word(index, name) for name in ("size", "type", "level"))
        if kind not in ("Data", "Unified") or not size or not level.isdigit():
            continue
        number, unit = (size[:-1], UNITS[size[-1]]) if size[-1] in UNITS else (size, 1)
        line, ways = (word(index, name) for name in ("coherency_line_size", "ways_of_associativity"))
        out.append(
            {
                "level": int(level),
                "type": kind.lower(),
                "bytes": int(number) * unit,
                "line_bytes": int(line) if line.isdigit() else None,
                "ways": int(ways) or None if ways.isdigit() else None,  # 0: fully associative, or unknown
            }
        )
    return sorted(out, key=lambda c: c["level"])


def copy_gb_s(size: int) -> float:
    """Bytes read and written a second by torch's copy of ``size`` bytes, in GB/s."""
    import torch

    source = torch.ones(size // 4)
    target = torch.empty_like(source)
    return 2 * size / _best_s(lambda: target.copy_(source)) / 1e9


def gemm_tflops() -> float:
    """TFLOP/s of torch's float32 matrix product."""
    import torch

    with torch.inference_mode():
        a, b = torch.ones(SIDE, SIDE), torch.ones(SIDE, SIDE)
        out = torch.empty(SIDE, SIDE)
        return 2 * SIDE**3 / _best_s(lambda: torch.mm(a, b, out=out)) / 1e12


def _best_s(call: Callable[[], Any]) -> float:
    """The shortest of the calls that fit into `SECONDS`, one at least."""
    call()
    best, end = float("inf"), time.perf_counter() + SECONDS
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return best
