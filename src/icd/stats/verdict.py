"""What an interval says: floors, equivalence margins and the four verdicts. Lower is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Verdict = Literal["WIN", "LOSS", "EQUIVALENT", "AMBIGUOUS"]


class Floor(NamedTuple):
    """The change, in percent, that this machine cannot tell from none; ``reason`` if A/A is missing."""

    percent: float
    reason: str | None = None


def _on_gpu(device: str) -> bool:
    kind = device.split(":")[0]
    if kind not in ("cuda", "cpu"):
        raise ValueError(f"device: expected cuda, cuda:<index> or cpu, got {device!r}")
    return kind == "cuda"


def fixed_floor_pct(device: str) -> float:
    """The least floor, in percent: 0.5 on a GPU, 2 on a CPU."""
    return 0.5 if _on_gpu(device) else 2.0


def equivalence_pct(device: str) -> float:
    """The margin inside which two arms count as equal, in percent: 1 on a GPU, 3 on a CPU."""
    return 1.0 if _on_gpu(device) else 3.0


def noise_floor(aa: Mapping[str, Any] | None, device: str) -> Floor:
    """The larger of the fixed floor and the farther end of A/A's interval.

    ``aa``: the comparison of two allocations of the same arm (`icd.stats.compare.compare`), or None.
    """
    fixed = fixed_floor_pct(device)
    if aa is None:
        return Floor(fixed, "no A/A control in this run")
    if aa.get("ci95") is None:
        return Floor(fixed, f"the A/A control has no interval: {aa.get('reason', 'no reason recorded')}")
    return Floor(max(fixed, *(abs(float(end)) for end in aa["ci95"])))


def verdict(ci95: Sequence[float], *, floor: float, equivalence: float) -> Verdict:
    """The verdict on an interval [lo, hi]; all in one unit, negative is better."""
    lo, hi = ci95
    if hi < -floor:
        return "WIN"
    if lo > floor:
        return "LOSS"
    return "EQUIVALENT" if -equivalence <= lo and hi <= equivalence else "AMBIGUOUS"
