"""What the record says of arms and comparisons beyond samples: cost, tiles, quality.

Pure functions of what else the record holds: the pipeline writes their results, `icd verify` asks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.pipeline.solved import total_cost
from icd.stats.derive import COMPARISONS
from icd.stats.roofline import roofline

OF_DENSE = ("cosine", "agreement")  # to the dense float32 model's outputs: 1 is that model itself


def count_tiles(widths: Mapping[str, Sequence[int]], sites: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Column blocks executed and in all, summed over sites."""
    block = {row["site"]: row["block"] for row in sites}
    return {
        "live": sum(-(-kept // block[name]) for name, (kept, _) in widths.items()),
        "total": sum(-(-size // block[name]) for name, (_, size) in widths.items()),
    }


def arm_cost(totals: Mapping[str, Mapping[str, float]], arm: str) -> dict[str, Any]:
    """``arms.<arm>.cost`` from model-wide costs; arms of the dense values share the dense one."""
    cost = totals.get(arm) or (totals.get("dense") if arm.startswith("dense") else None)
    if cost is None:
        return {"C": None, "Q": None, "J": None, "reason": "the layout differs in every allocation"}
    return {key: cost[key] for key in ("C", "Q", "J")}


def totals(sites: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Model-wide cost of every arm that the site table holds."""
    arms = sites[0]["cost"] if sites else ()
    return {arm: total_cost({row["site"]: row["cost"][arm] for row in sites}) for arm in arms}


def arm_block(
    derived: Mapping[str, Any],
    *,
    quality: Mapping[str, Any],
    cost: Mapping[str, Any],
    executed: Mapping[str, Any],
    check: Mapping[str, Any],
    parts: Sequence[Mapping[str, Any]],
    hardware: Mapping[str, Any],
    sites: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """``arms.<arm>``: its measured figures and what follows from what was executed.

    ``derived``: of `icd.stats.derive.derive`; ``parts``: what `icd.measure.work.count` gives; ``sites``: rows
    of the site table, of which the blocks count.
    """
    return {
        **derived,
        "quality": quality,
        "cost": cost,
        "tiles": count_tiles(executed["sites"], sites),
        "engine": executed["engine"],
        "executed": executed,
        "engine_check": check,
        "roofline": roofline(parts, hardware, derived["latency_ms"]),
    }


def computed(name: str, arms: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison says beyond samples: cost, tiles, quality."""
    a, b = (arms[arm] for arm in COMPARISONS[name])
    reason = "the layout differs in every allocation" if "shuffle" in name else None
    known = a["cost"]["C"] is not None and b["cost"]["C"] is not None
    cost: dict[str, Any] = {
        "C_delta_pct": 100.0 * (a["cost"]["C"] / b["cost"]["C"] - 1.0) if known and b["cost"]["C"] else None,
        "Q_delta": a["cost"]["Q"] - b["cost"]["Q"] if known else None,
    }
    if cost["C_delta_pct"] is None:
        cost["reason"] = reason or "the base arm's C is 0"
    out: dict[str, Any] = {
        "cost": cost,
        "tiles": {"delta_pct": 100.0 * (a["tiles"]["live"] / b["tiles"]["live"] - 1.0)}
        if b["tiles"]["live"]
        else {"delta_pct": None, "reason": "the base arm executes no tile"},
        "quality_pp": quality_points(a["quality"], b["quality"]),
        "quality_vs_dense_pp": None,
    }
    if out["quality_pp"] is None:
        out["quality_reason"] = a["quality"].get("reason") or b["quality"].get("reason") or "not evaluated"
    elif a["quality"]["metric"] in OF_DENSE:
        out["quality_vs_dense_pp"] = 100.0 * (a["quality"]["value"] - 1.0)
    else:
        out["quality_vs_dense_reason"] = (
            f"{a['quality']['metric']} is not relative to the dense float32 model, whose own is not evaluated"
        )
    return out


def quality_points(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """``100 (a - b)`` for cosine, agreement and accuracy; ``100 (ppl_b / ppl_a - 1)`` for perplexity."""
    if a["value"] is None or b["value"] is None or a["metric"] != b["metric"]:
        return None
    if a["metric"] == "perplexity":
        return 100.0 * (float(b["value"]) / float(a["value"]) - 1.0)
    return 100.0 * (float(a["value"]) - float(b["value"]))
