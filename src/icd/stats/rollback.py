"""Is a new layout worse where it counts? Two of latency, L2 and energy decide, each on its interval.

worse    the whole interval lies on the bad side of the noise floor; for latency and energy that is
         the verdict LOSS, for L2 (percentage points, higher is better) an upper end below -floor
unknown  no figure, no interval, or a simulated one: counts neither for nor against
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.stats.verdict import fixed_floor_pct

HEADLINE = "iterative_vs_linear"
BLOCKS = {"latency": "latency", "l2": "l2_pp", "ept": "ept"}  # name of the metric -> block of a comparison
ENOUGH = 2


def decide(
    compare: Mapping[str, Any], iterations: Sequence[Mapping[str, Any]], device: str, *, enabled: bool
) -> dict[str, Any]:
    """``{triggered, enabled, metrics, figures, reason}`` of a measurement's comparisons.

    ``metrics``: which of latency, l2 and ept are worse; ``figures``: what each was judged on;
    ``iterations``: the steps of the layout loop, of which one must have been kept for there to be
    something to roll back. ``reason`` says why nothing was rolled back, None where it was.
    """
    found = {
        name: judge(name, compare[HEADLINE].get(block) or {}, _aa(compare, block), device)
        for name, block in BLOCKS.items()
        if HEADLINE in compare
    }
    worse = [name for name, figure in found.items() if figure["worse"]]
    reason = None
    if not found:
        reason = "no iterative arm to be compared with linear"
    elif not any(step["accepted"] for step in iterations):
        reason = "iterative runs linear's layout already"
    elif len(worse) < ENOUGH:
        known = sum(figure["worse"] is not None for figure in found.values())
        reason = f"{len(worse)} of {known} known figures worse; {ENOUGH} are needed"
    elif not enabled:
        reason = "pipeline.rollback=false"
    return {
        "triggered": reason is None,
        "enabled": enabled,
        "metrics": worse,
        "figures": found,
        "reason": reason,
    }


def judge(name: str, block: Mapping[str, Any], aa: Mapping[str, Any], device: str) -> dict[str, Any]:
    """``{worse, value, ci95, floor, unit}`` of one figure; ``worse`` is None beside a reason if unknown."""
    points = name == "l2"
    value, ci95 = block.get("delta" if points else "delta_pct"), block.get("ci95")
    floor = points_floor(aa, device) if points else block.get("floor_pct")
    out = {"worse": None, "value": value, "ci95": ci95, "floor": floor, "unit": "pp" if points else "%"}
    if ci95 is None or block.get("source") != "measured":
        return {**out, "reason": block.get("reason") or block.get("source") or "not measured"}
    worse = ci95[1] < -float(floor or 0.0) if points else block.get("verdict") == "LOSS"
    return {**out, "worse": bool(worse)}


def points_floor(aa: Mapping[str, Any], device: str) -> float:
    """The change of a share, in percentage points, that two copies of one arm show; never below the
    device's fixed floor.
    """
    ends = aa.get("ci95") or ()
    return max(fixed_floor_pct(device), *(abs(float(end)) for end in ends), 0.0)


def _aa(compare: Mapping[str, Any], block: str) -> Mapping[str, Any]:
    return (compare.get("aa") or {}).get(block) or {}
