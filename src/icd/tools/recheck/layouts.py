"""Costs, site table, iterations and solver again, from graphs and layouts.

T is not computed again: the nets of the weights are not saved. What is checked is that it agrees between
the site table, the iterations and the reasons for which they were kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from icd.contracts import CoAccess, IntArray
from icd.pipeline.arms import sliced_layout
from icd.pipeline.layouts import live_graph
from icd.pipeline.plans import START, accept
from icd.pipeline.rollback import FOLDER, TAG, reason
from icd.pipeline.solved import hash_layouts, solver_block, total_cost
from icd.solver.objective import Objective, evaluate
from icd.tools.recheck.orders import same_sites
from icd.tools.recheck.recorded import Recorded, Saved, differ, saved

STEP = {
    "pi_hash", "J", "T", "C", "Q", "accepted", "reason", "elapsed_s", "time_limited", "timeouts",
}  # fmt: skip
TERMS = ("T", "C", "Q", "R_align", "R_stab", "J", "W_sum")  # T is None: it needs nets


class SiteTerms(NamedTuple):
    """What graph and layouts of one site give.

    ``facts``: channels, live ones and edges of W'; ``nnz``: of W; ``arms``: the referee's terms of each
    arm that has one layout; ``rejected``: iterative's before a rollback; ``start``, ``best``: of the first
    and the last kept iteration, as the loop saw them.
    """

    facts: dict[str, int]
    nnz: int
    arms: dict[str, dict[str, Any]]
    rejected: dict[str, Any] | None
    start: dict[str, Any] | None
    best: dict[str, Any] | None


@lru_cache(maxsize=2)
def all_terms(run: Recorded) -> dict[str, SiteTerms]:
    """Every site, its graph read once."""
    old = rejected(run)
    return {row["site"]: site_terms(run, row, old) for row in run.metrics["sites"]}


def rejected(run: Recorded) -> Saved | None:
    """The layouts that a rollback by measurement put away."""
    if run.metrics["rollback"]["first"] is None:
        return None
    return saved(run.folder / FOLDER / "perm_after.json")


def site_terms(run: Recorded, row: Mapping[str, Any], old: Saved | None) -> SiteTerms:
    """One site; ``row``: of the site table, of which block, line and the arms' names count."""
    name, objective = row["site"], Objective(**run.objective)
    whole = run.graph(name)
    if old is not None and len(old.layouts[name]) != whole.shape[0]:
        raise ValueError(f"{FOLDER}/perm_after.json: {name} has {len(old.layouts[name])} channels")
    live = np.zeros(whole.shape[0], bool)
    live[run.after.live.get(name, np.arange(len(live)))] = True
    graph = live_graph(CoAccess(whole, ""), live).W

    def terms(pi: IntArray, previous: IntArray | None = None) -> dict[str, Any]:
        found = evaluate(
            graph, None, pi, block=row["block"], line=row["line"], previous=previous, objective=objective
        )
        return {key: found[key] for key in TERMS}

    pi0, pi1 = run.before.layouts[name], run.after.layouts[name]
    layouts = {"dense": np.arange(len(live), dtype=np.int32), "linear": pi0, "aa": pi0, "iterative": pi1}
    layouts["sliced"] = sliced_layout(live)
    looped = "iterative" in row["cost"]
    kept = pi1 if old is None else old.layouts[name]
    return SiteTerms(
        {"channels": len(live), "live": int(live.sum()), "edges": int(graph.nnz) // 2},
        int(whole.nnz),
        {arm: terms(layouts[arm]) for arm in row["cost"]},
        None if old is None else terms(kept),
        terms(pi0, pi0) if looped else None,
        terms(kept, pi0) if looped else None,
    )


def arm_totals(run: Recorded, *, first: bool = False) -> dict[str, dict[str, float]]:
    """Model-wide cost by arm, T left out; ``first``: of the measurement before a rollback."""
    rows = run.metrics["sites"]
    if not run.graphs:
        out = {arm: total_cost({row["site"]: row["cost"][arm] for row in rows}) for arm in rows[0]["cost"]}
        if first:
            out["iterative"] = run.metrics["rollback"]["first"]["arms"]["iterative"]["cost"]
        return out
    found = all_terms(run)
    out = {arm: total_cost({name: site.arms[arm] for name, site in found.items()}) for arm in rows[0]["cost"]}
    if first:
        out["iterative"] = total_cost({name: site.rejected or {} for name, site in found.items()})
    return out


def sites(run: Recorded) -> list[str]:
    """Every file of layouts holds a permutation of each site of the record, and of nothing else."""
    held = [("perm_before.json", run.before), ("perm_after.json", run.after)]
    old = rejected(run)
    held += [] if old is None else [(f"{FOLDER}/perm_after.json", old)]
    names = [row["site"] for row in run.metrics["sites"]]
    out = [] if len(set(names)) == len(names) else ["sites: a site is there twice"]
    return out + [
        problem for file, found in held for problem in same_sites(file, found.layouts, run.metrics["sites"])
    ]


def costs(run: Recorded) -> list[str]:
    """``sites`` and ``solver``: every arm's terms of every site, its live channels and its edges."""
    metrics = run.metrics
    arms = [arm for arm in metrics["arms"] if arm not in ("shuffle", "dense_bf16")]
    out = []
    for row in metrics["sites"] if run.graphs else ():
        found = all_terms(run)[row["site"]]
        terms = {arm: {**found.arms[arm], "T": row["cost"][arm]["T"]} for arm in arms}
        again = {**found.facts, "cost": terms}
        if row["graph"].get("nnz") is not None:
            again["graph"] = {**row["graph"], "nnz": found.nnz}
        out += differ({key: row[key] for key in again}, again, f"sites.{row['site']}")
    before, after = ({name: pi.tolist() for name, pi in f.live.items()} for f in (run.before, run.after))
    if before != after or any(row["site"] not in run.after.layouts for row in metrics["sites"]):
        out.append("perm_before.json and perm_after.json do not name the same sites and live channels")
    again = solver_block(metrics["sites"], metrics["iterations"], metrics["arms"])
    return out + differ(metrics["solver"], again, "solver")


def ended(steps: Sequence[Mapping[str, Any]], max_iters: int) -> list[str]:
    """The loop ends with a re-permutation that was not kept, or with the last one that was asked for."""
    if steps[-1]["accepted"] is not False and len(steps) - 1 != max_iters:
        return [f"iterations: {len(steps) - 1}, the last one kept, and pipeline.max_iters is {max_iters}"]
    if any(step["accepted"] is False for step in steps[:-1]):
        return ["iterations: one follows another that was not kept"]
    return []


def iterations(run: Recorded) -> list[str]:
    """``iterations``: which layouts they are, their cost, and why they were kept."""
    steps, plan = list(run.metrics["iterations"]), run.lock["pipeline"]
    if not steps:
        return (
            ["iterations: none, and there is an iterative arm"] if "iterative" in run.metrics["arms"] else []
        )
    out = []
    old = rejected(run)
    if old is not None:
        back = {"accepted": False, "reason": reason(run.metrics["rollback"]), "elapsed_s": 0.0}
        out += differ(steps.pop(), {**steps[0], **back}, f"iterations: {TAG}")
        out += differ(hash_layouts(run.after.layouts), steps[0]["pi_hash"], "perm_after.json")
    start = best = steps[0]
    out += differ([start["accepted"], start["reason"]], [None, START], "iterations[0]")
    for number, step in enumerate(steps[1:], 1):
        ok, why = accept(best, step, eps_T=plan["eps_T"], eps_J=plan["eps_J"])
        out += differ([step["accepted"], step["reason"]], [ok, why], f"iterations[{number}]")
        best = step if ok else best
    out += ended(steps, plan["max_iters"])
    out += [
        f"iterations[{number}].{key}: an iteration says no such thing"
        for number, step in enumerate(steps)
        for key in sorted(set(step) - STEP)
    ]
    rows = run.metrics["sites"]
    for step, arm, when, layouts in (
        (start, "linear", "start", run.before.layouts),
        (best, "iterative", "best", (old or run.after).layouts),
    ):
        total: dict[str, float] = {}
        if run.graphs:
            total = total_cost({name: getattr(site, when) for name, site in all_terms(run).items()})
        tiles = float(sum(row["cost"][arm]["T"] or 0.0 for row in rows))
        # before a rollback T is of a layout that the site table no longer holds
        total["T"] = step["T"] if old is not None and arm == "iterative" else tiles
        again = {**total, "pi_hash": hash_layouts(layouts)}
        out += differ({key: step[key] for key in again}, again, f"iterations: {arm}")
    return out
