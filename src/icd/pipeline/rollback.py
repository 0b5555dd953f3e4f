"""Rollback by measurement: the layout before the re-permutation is kept where the new one measures worse.

The whole measurement is made again, once, with linear's layout in the iterative arm; that second
measurement is the run's result. The first one stays in ``before_rollback/`` with its raw samples, and in
``metrics.json`` below ``rollback.first``, so that decision and root cause can be computed again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from icd.pipeline.arms import Prepared
from icd.stats.rollback import BLOCKS, HEADLINE
from icd.stats.rootcause import root_cause

FOLDER = "before_rollback"
ARM, BASE = "iterative", "linear"
TAG = "rolled-back-by-measurement"


def rolled_back(prepared: Prepared, decision: Mapping[str, Any]) -> Prepared:
    """``prepared`` with linear's layout, cost and graph position in the iterative arm.

    The loop's record gets one more step: the layout before the transform again, with what was worse.
    """
    facts = dict(prepared.facts)
    base = next(arm for arm in prepared.arms if arm.name == BASE)
    start = facts["iterations"][0]
    step = {**start, "accepted": False, "reason": reason(decision), "elapsed_s": 0.0}
    facts |= {
        "pi1": facts["pi0"],
        "costs": {**facts["costs"], ARM: facts["costs"][BASE]},
        "iterations": [*facts["iterations"], step],
    }
    arms = tuple(
        dataclasses.replace(arm, layouts=base.layouts) if arm.name == ARM else arm for arm in prepared.arms
    )
    return dataclasses.replace(prepared, arms=arms, facts=facts)


def reason(decision: Mapping[str, Any]) -> str:
    """``rolled back by measurement: latency +3.1 %, ept +4.0 % against linear``."""
    parts = [
        f"{name} {figure['value']:+.2f} {figure['unit']}"
        for name, figure in decision["figures"].items()
        if figure["worse"]
    ]
    return f"rolled back by measurement: {', '.join(parts)} against linear's layout"


def block(
    decision: Mapping[str, Any],
    first: Mapping[str, Any] | None,
    samples: Any,
    again: Mapping[str, Any],
    time_limited: list[str],
) -> dict[str, Any]:
    """``rollback`` of ``metrics.json``.

    ``first``: ``{arms, compare, settings, hardware}`` of the measurement that triggered, with its raw
    ``samples``; None where nothing was rolled back. ``again``: ``compare`` of the run's own measurement.
    """
    if first is None:
        return {**decision, "remeasured": None, "root_cause": [], "first": None}
    return {
        **decision,
        "remeasured": {name: again[HEADLINE][key] for name, key in BLOCKS.items()},
        "root_cause": root_cause(first, samples, again, time_limited),
        "samples": f"{FOLDER}/samples.csv.gz",
        "first": dict(first),
    }
