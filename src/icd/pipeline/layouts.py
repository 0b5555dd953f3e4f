"""Solving every site, and the referee's view of a set of layouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from icd.contracts import CoAccess, Engine, Layout, Layouts, Nets, Site
from icd.places import cache_dir
from icd.solver.base import LayoutSolver
from icd.solver.parallel import SiteTask, fit_sites

LINE_BYTES = 128


@dataclass(frozen=True)
class Geometry:
    """Tile and line sizes of one site, in channels."""

    block: int
    line: int


def geometry(site: Site, engine: Engine, element_bytes: int) -> Geometry:
    """How many channels of ``site`` fill a tile's columns and a 128-byte line."""
    return Geometry(
        block=site.block(engine.tile_cols),
        line=max(1, LINE_BYTES // element_bytes // site.repeat),
    )


@dataclass(frozen=True)
class Task:
    """Everything that solver and referee need to know of one site, in dense order."""

    site: Site
    graph: CoAccess
    nets: Nets
    geometry: Geometry


def solve_all(
    solver: LayoutSolver, tasks: list[Task], previous: Layouts | None, done: Callable[[int, str], None]
) -> dict[str, Layout]:
    """A layout for every site, on all cores; ``done(count, site)`` is called after each.

    Layouts solved before, with the same graph, nets, configuration and code, come from the cache below
    ``ICD_CACHE_DIR`` (default: the user's cache folder); ``stats["cache"]`` says ``hit`` or ``miss``.
    """
    return fit_sites(
        {
            task.site.name: SiteTask(
                task.graph.W,
                task.nets,
                task.geometry.block,
                task.geometry.line,
                None if previous is None else np.asarray(previous[task.site.name], np.int32),
            )
            for task in tasks
        },
        solver,
        time_budget_s=solver.time_budget_s,
        cache_dir=cache_dir() / "layouts",
        progress=lambda name, _, count, total: done(count, name),
    )


def site_costs(
    solver: LayoutSolver, tasks: list[Task], layouts: Layouts, previous: Layouts | None
) -> dict[str, dict[str, Any]]:
    """The referee's terms for every site under ``layouts`` (identity where a site is not named)."""
    from icd.solver.objective import evaluate

    out = {}
    for task in tasks:
        name = task.site.name
        pi = np.asarray(layouts.get(name, np.arange(task.site.size)), np.int32)
        out[name] = evaluate(
            task.graph.W,
            task.nets,
            pi,
            block=task.geometry.block,
            line=task.geometry.line,
            previous=None if previous is None else np.asarray(previous[name], np.int32),
            objective=solver.objective,
        )
    return out


def live_graph(graph: CoAccess, live: np.ndarray) -> CoAccess:
    """W': the part of ``graph`` between channels that are live, same size and order."""
    from scipy.sparse import csr_matrix, diags

    D = diags(live.astype(np.float64))
    W = csr_matrix(D @ graph.W @ D)
    W.eliminate_zeros()
    W.sort_indices()
    return CoAccess(W, f"{graph.source}, live channels", {"nnz": int(W.nnz)})
