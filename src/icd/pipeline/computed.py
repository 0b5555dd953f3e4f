"""What the record says of arms and comparisons beyond samples: cost, tiles, quality, break-even."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

PAIRS = {
    "iterative_vs_linear": ("iterative", "linear"),
    "iterative_vs_sliced": ("iterative", "sliced"),
    "linear_vs_dense": ("linear", "dense"),
    "iterative_vs_dense": ("iterative", "dense"),
    "shuffle_vs_linear": ("shuffle", "linear"),
    "aa": ("aa", "linear"),
}


def count_tiles(widths: Mapping[str, Sequence[int]], sites: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Column blocks executed and in all, summed over sites."""
    block = {row["site"]: row["block"] for row in sites}
    return {
        "live": sum(-(-kept // block[name]) for name, (kept, _) in widths.items()),
        "total": sum(-(-size // block[name]) for name, (_, size) in widths.items()),
    }


def computed(name: str, arms: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison says beyond samples: cost, tiles, quality."""
    a, b = (arms[arm] for arm in PAIRS[name])
    reason = "the layout differs in every allocation" if "shuffle" in name else None
    known = a["cost"]["C"] is not None and b["cost"]["C"] is not None
    cost: dict[str, Any] = {
        "C_delta_pct": 100.0 * (a["cost"]["C"] / b["cost"]["C"] - 1.0) if known and b["cost"]["C"] else None,
        "Q_delta": a["cost"]["Q"] - b["cost"]["Q"] if known else None,
    }
    if cost["C_delta_pct"] is None:
        cost["reason"] = reason or "the base arm's C is 0"
    out = {
        "cost": cost,
        "tiles": {"delta_pct": 100.0 * (a["tiles"]["live"] / b["tiles"]["live"] - 1.0)},
        "quality_pp": quality_points(a["quality"], b["quality"]),
        "quality_vs_dense_pp": quality_points(a["quality"], {"metric": a["quality"]["metric"], "value": 1.0}),
    }
    if out["quality_pp"] is None:
        out["quality_reason"] = a["quality"].get("reason", "not evaluated")
    return out


def quality_points(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """``100 (a - b)`` for cosine, agreement and accuracy; ``100 (ppl_b / ppl_a - 1)`` for perplexity."""
    if a["value"] is None or b["value"] is None:
        return None
    if a["metric"] == "perplexity":
        return 100.0 * (float(b["value"]) / float(a["value"]) - 1.0)
    return 100.0 * (float(a["value"]) - float(b["value"]))


def break_even(seconds: float, arms: Mapping[str, Any]) -> dict[str, Any]:
    """Forwards after which the solver's time is earned back by iterative against linear."""
    names = ("iterative", "linear")
    means = [arms[n]["latency_ms"]["mean"] for n in names if n in arms]
    if len(means) < 2 or None in means:
        return {"break_even_forwards": None, "reason": "no latency of both iterative and linear"}
    gain_s = (means[1] - means[0]) / 1e3
    if gain_s <= 0:
        return {"break_even_forwards": None, "reason": "iterative is not faster than linear"}
    return {"break_even_forwards": int(np.ceil(seconds / gain_s))}


def site_table(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a site: geometry, live channels, and cost of each arm under the one graph W'."""
    rows = []
    for row in facts["sites"]:
        name = row["site"]
        live = facts["live"].get(name)
        rows.append(
            {
                **row,
                "live": int(np.sum(live)) if live is not None else row["channels"],
                "graph": facts["graphs"][name],
                "cost": {
                    arm: {k: sites[name][k] for k in ("T", "C", "Q", "R_align", "R_stab", "J", "W_sum")}
                    for arm, sites in facts["costs"].items()
                },
                "solver": {
                    when: {k: v for k, v in stats.get(name, {}).items() if k not in ("before", "after")}
                    for when, stats in facts["solver"].items()
                },
            }
        )
    return rows
