"""What the solver says of its candidates, for those whose layout the record holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from icd.contracts import CoAccess, IntArray
from icd.pipeline.layouts import live_graph
from icd.pipeline.solved import KEPT
from icd.solver.objective import Objective, better, evaluate
from icd.tools.recheck.asked import SEARCH
from icd.tools.recheck.layouts import rejected
from icd.tools.recheck.recorded import Recorded, differ

TERMS = ("C", "Q", "J")  # T needs nets


def scores(run: Recorded) -> list[str]:
    """C, Q and J of the given order, the layout before and the chosen one; and whether that improved on them.

    Of the solves after the transform only where one was kept: of more, the layouts between are not recorded.
    """
    metrics, out = run.metrics, []
    if not str(run.lock["solver"]["_target_"]).startswith("icd."):
        return []
    kept = sum(step["accepted"] is True for step in metrics["iterations"])
    old = rejected(run)
    for row in metrics["sites"]:
        name, where = row["site"], f"sites.{row['site']}.solver"
        identity = np.arange(row["channels"], dtype=np.int32)
        pi0, pi1 = run.before.layouts[name], (old or run.after).layouts[name]
        graph = run.graph(name) if run.graphs else None
        stats = row["solver"].get("before") or {}
        out += judged(run, row, stats, graph, {"identity": identity}, pi0, None, f"{where}.before")
        if kept == 1:
            live = np.zeros(len(identity), bool)
            live[run.after.live.get(name, identity)] = True
            left = None if graph is None else live_graph(CoAccess(graph, ""), live).W
            orders, stats = {"identity": identity, "previous": pi0}, row["solver"].get("after") or {}
            out += judged(run, row, stats, left, orders, pi1, pi0, f"{where}.after")
    return out


def judged(
    run: Recorded,
    row: Mapping[str, Any],
    stats: Mapping[str, Any],
    graph: Any,
    orders: Mapping[str, IntArray],
    chosen: IntArray,
    previous: IntArray | None,
    where: str,
) -> list[str]:
    """One solve; ``orders``: candidates whose layout is known, ``chosen``: what it answered."""
    tried = stats.get("candidates")
    if not tried:
        return []
    if stats["chosen"] not in tried:
        return [f"{where}.chosen: {stats['chosen']} is none of its candidates"]
    initial = "identity" if previous is None else "previous"
    again: dict[str, Any] = {"previous_kept": bool(np.array_equal(chosen, orders[initial]))}
    if initial in tried:
        again["improved"] = better(tried[stats["chosen"]], tried[initial])
    out = differ({key: stats[key] for key in again}, again, where)
    timed_out = row["site"] in run.metrics["solver"]["timeouts"] and set(tried) == {KEPT}
    searched = run.metrics["config"]["solver"] in SEARCH and not timed_out
    out += [f"{where}.candidates.{name} is missing" for name in orders if searched and name not in tried]
    lost = [name for name in tried if better(tried[name], tried[stats["chosen"]])]
    if lost:
        out.append(f"{where}.chosen: {stats['chosen']} was taken, and {lost[0]} is better")
    for name, pi in {**orders, stats["chosen"]: chosen}.items() if graph is not None else ():
        if name not in tried:
            continue
        objective = Objective(**run.objective)
        found = evaluate(
            graph, None, pi, block=row["block"], line=row["line"], previous=previous, objective=objective
        )
        again = {key: found[key] for key in TERMS}
        out += differ({key: tried[name][key] for key in TERMS}, again, f"{where}.candidates.{name}")
    return out
