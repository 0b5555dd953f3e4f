"""The two pipelines, as short as the algorithm.

linear      W of the dense model -> pi0 -> transform
iterative   the same, then W' of what is live -> pi1, kept while it pays, else rolled back
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from icd.contracts import Activations, CoAccess, IntArray, Layouts, Workload
from icd.graph.nets import build_nets
from icd.pipeline.experiment import Experiment
from icd.pipeline.layouts import Task, geometry, live_graph, site_costs, solve_all
from icd.pipeline.plans import START, accept
from icd.pipeline.solved import cut_short, hash_layouts, total_cost
from icd.transform.order import ordered
from icd.transform.permute import permute, restore

Tell = Callable[..., None]


@dataclass(frozen=True)
class Solved:
    """Layouts of all sites, what the solver says of each, and the seconds of one core that they cost."""

    layouts: Mapping[str, IntArray]
    stats: Mapping[str, Mapping[str, Any]]
    seconds: float


@dataclass(frozen=True)
class Found:
    """What a pipeline ends with.

    ``transformed`` holds its values in dense order; ``judge`` is one task a site over W', on which every
    arm's cost is computed; ``order`` says how sparsity and rounding
    followed each other, where both applied.
    """

    pi0: Layouts
    pi1: Layouts
    transformed: Workload
    judge: list[Task]
    iterations: list[dict[str, Any]] = field(default_factory=list)
    stats: Mapping[str, Any] = field(default_factory=lambda: {"before": {}, "after": {}})
    order: Mapping[str, Any] = field(default_factory=dict)


def search(
    experiment: Experiment,
    dense: Workload,
    graphs: Mapping[str, CoAccess],
    activations: Activations | None,
    device: str,
    tell: Tell,
) -> Found:
    """Run the pipeline that the arms ask for; without ``linear`` nothing is laid out or transformed."""
    tasks = _tasks(experiment, dense, graphs, device, live_only=False)
    identity = {site.name: np.arange(site.size, dtype=np.int32) for site in dense.sites}
    if "linear" not in experiment.pipeline.arms:
        return Found(identity, identity, dense, tasks)
    before = _solve(experiment, tasks, None, START, tell)
    tell("stage", what="transform", message="transforming")
    laid_out = permute(dense, before.layouts)
    start, order = ordered(experiment.transform.order, experiment.precision, laid_out, device)
    transformed = restore(experiment.transform.apply(start, activations))
    judge = _tasks(experiment, transformed, graphs, device, live_only=True)
    iterations: list[dict[str, Any]] = []
    after = Solved(before.layouts, {}, 0.0)
    if "iterative" in experiment.pipeline.arms:
        iterations, after = _repermute(experiment, judge, before, tell)
    return Found(
        before.layouts,
        after.layouts,
        transformed,
        judge,
        iterations,
        {"before": before.stats, "after": after.stats},
        order,
    )


def _repermute(
    experiment: Experiment, judge: list[Task], first: Solved, tell: Tell
) -> tuple[list[dict[str, Any]], Solved]:
    """Solve again on W' until it no longer pays; and the last layout kept."""
    plan = experiment.pipeline
    cost = total_cost(site_costs(experiment.solver, judge, first.layouts, first.layouts))
    iterations = [_iteration(first, cost, None, START)]
    kept = Solved(first.layouts, {}, 0.0)
    for _ in range(plan.max_iters):
        candidate = _solve(experiment, judge, kept.layouts, "layout after the transform", tell)
        new = total_cost(site_costs(experiment.solver, judge, candidate.layouts, first.layouts))
        ok, reason = accept(cost, new, eps_T=plan.eps_T, eps_J=plan.eps_J)
        iterations.append({**_iteration(candidate, new, ok, reason), **cut_short(candidate.stats)})
        tell("stage", what="re-permute", message=reason, ok=ok)
        if not ok:
            break
        kept, cost = candidate, new
    return iterations, kept


def _tasks(
    experiment: Experiment,
    workload: Workload,
    graphs: Mapping[str, CoAccess],
    device: str,
    live_only: bool,
) -> list[Task]:
    """One task a site; ``live_only``: on the graph between live channels."""
    element_bytes = experiment.precision.element_bytes(device)
    engine = experiment.runtime
    nets = build_nets(
        workload, tile_rows=engine.tile_rows, tile_cols=engine.tile_cols, element_bytes=element_bytes
    )
    return [
        Task(
            site,
            live_graph(graphs[site.name], workload.live_mask(site)) if live_only else graphs[site.name],
            nets[site.name],
            geometry(site, engine, element_bytes),
        )
        for site in workload.sites
    ]


def _solve(
    experiment: Experiment, tasks: list[Task], previous: Layouts | None, what: str, tell: Tell
) -> Solved:
    """A layout for every task; seconds are also those of the solve behind a cached layout."""
    solved = solve_all(
        experiment.solver,
        tasks,
        previous,
        lambda count, site: tell("progress", what=what, done=count, total=len(tasks), item=site),
    )
    stats = {name: dict(layout.stats) for name, layout in solved.items()}
    return Solved({n: s.pi for n, s in solved.items()}, stats, sum(s["seconds"] for s in stats.values()))


def _iteration(solved: Solved, cost: Mapping[str, float], ok: bool | None, reason: str) -> dict[str, Any]:
    return {
        "pi_hash": hash_layouts(solved.layouts),
        "J": cost["J"],
        "T": cost["T"],
        "C": cost["C"],
        "Q": cost["Q"],
        "accepted": ok,
        "reason": reason,
        "elapsed_s": solved.seconds,
    }
