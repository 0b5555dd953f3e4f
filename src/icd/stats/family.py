"""The gated hypotheses of many cells taken together: Holm's correction, and what then passes.

A sweep of k cells asks the same gate k times, and one of k null results passes by luck k times as often.
For each gate all required measured checks of all cells form one family; a check holds family-wise when its
Holm-adjusted p-value is at most `icd.stats.gates.ONE_SIDED`, and a cell passes when its gate passed and
every such check of it holds. Holm (Scand. J. Stat. 6, 1979) keeps the chance of one or more false passes
in the whole family at that level, whatever the dependence between cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.stats.gates import ONE_SIDED
from icd.stats.interval import holm


def family(cells: Mapping[str, Mapping[str, Any]], alpha: float = ONE_SIDED) -> dict[str, Any]:
    """``{gate: {size, untested, hypotheses, cells, passed}}`` over the ``gates`` blocks of named cells.

    ``hypotheses``: one a tested check, ``{cell, check, threshold, p_value, p_holm, holds}``; ``untested``
    counts required measured checks without a p-value, which are no members of the family. ``cells[cell]``:
    ``{own, pass}``, the gate's own outcome and the family-wise one, None where the own one is None;
    ``passed`` counts the family-wise passes.
    """
    names = sorted({gate for gates in cells.values() for gate in gates})
    return {name: one_gate({c: g[name] for c, g in cells.items() if name in g}, alpha) for name in names}


def one_gate(cells: Mapping[str, Mapping[str, Any]], alpha: float = ONE_SIDED) -> dict[str, Any]:
    """The family of one gate; ``cells[cell]``: its result there (`icd.stats.gates.Gate.evaluate`)."""
    asked = [
        (cell, check)
        for cell, result in cells.items()
        for check in result["checks"]
        if check.get("required") is not False and ("p_reason" in check or check.get("p_value") is not None)
    ]
    tested = [(cell, check) for cell, check in asked if check.get("p_value") is not None]
    adjusted = holm([check["p_value"] for _, check in tested])
    hypotheses = [
        {
            "cell": cell,
            "check": check["name"],
            "threshold": check["threshold"],
            "p_value": check["p_value"],
            "p_holm": p,
            "holds": p <= alpha,
        }
        for (cell, check), p in zip(tested, adjusted, strict=True)
    ]
    failed = {h["cell"] for h in hypotheses if not h["holds"]}
    outcome = {
        cell: {"own": result["pass"], "pass": False if result["pass"] and cell in failed else result["pass"]}
        for cell, result in cells.items()
    }
    return {
        "size": len(tested),
        "untested": len(asked) - len(tested),
        "hypotheses": hypotheses,
        "cells": outcome,
        "passed": sum(o["pass"] is True for o in outcome.values()),
    }
