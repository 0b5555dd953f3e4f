"""What the record says of layouts: cost by site and in all, seconds, sites that were cut short.

Pure functions: the pipeline writes their results, `icd verify` asks again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icd.contracts import Layouts
from icd.scaling import exponent, scaled

KEPT = "kept"  # the name of an initial layout that stays since nothing could be scored in time


def total_cost(costs: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Model-wide cost: T summed in bytes; C, Q and J as means weighted by each site's co-access weight."""
    weight = np.array([cost["W_sum"] for cost in costs.values()], float)
    weight = scaled(weight, exponent(weight))
    scale = weight.sum() or 1.0

    def mean(key: str) -> float:
        return float(np.dot(weight, [cost[key] for cost in costs.values()]) / scale)

    return {
        "T": float(sum(cost["T"] or 0.0 for cost in costs.values())),
        **{k: mean(k) for k in ("C", "Q", "J")},
    }


def hash_layouts(layouts: Layouts) -> str:
    """A short hash of a set of layouts, independent of the order of sites."""
    digest = hashlib.sha256()
    for name in sorted(layouts):
        digest.update(json.dumps([name, np.asarray(layouts[name]).tolist()]).encode())
    return digest.hexdigest()[:16]


def cut_short(stats: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """``{time_limited, timeouts}``: sites whose solver ran out of time, and those it did not even begin.

    ``stats``: by site what a solver says of its layout. Each list is there only where it names one.
    """
    found = {
        "time_limited": [name for name, s in stats.items() if s.get("time_limited")],
        "timeouts": [name for name, s in stats.items() if s.get("chosen") == KEPT],
    }
    return {key: names for key, names in found.items() if names}


def solver_block(
    sites: Sequence[Mapping[str, Any]], iterations: Sequence[Mapping[str, Any]], arms: Mapping[str, Any]
) -> dict[str, Any]:
    """``solver``: seconds of all steps, when they are earned back, and sites cut short in any of them,
    also in one whose layout was not kept.
    """
    solved = [
        {row["site"]: row["solver"][when] for row in sites if row["solver"].get(when)}
        for when in ("before", "after")
    ]
    own = [s["elapsed_s"] for s in iterations] or [s["seconds"] for stats in solved for s in stats.values()]
    steps = [*(cut_short(stats) for stats in solved), *iterations]
    return {
        "seconds": float(sum(own)),
        "cache_hits": sum(s.get("cache") == "hit" for stats in solved for s in stats.values()),
        **break_even(float(sum(own)), arms),
        **{
            key: list(dict.fromkeys(name for step in steps for name in step.get(key, ())))
            for key in ("time_limited", "timeouts")
        },
    }


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
