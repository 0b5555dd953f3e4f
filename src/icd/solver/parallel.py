"""Layouts of all sites of a model: one solve a core, one budget for the whole."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from icd.contracts import BoolArray, IntArray, Layout, Nets
from icd.errors import ConfigError, SolverTimeout
from icd.solver.base import LayoutSolver
from icd.solver.book import Book, Clock
from icd.solver.cache import CachedSolver
from icd.solver.problem import pose

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

log = logging.getLogger(__name__)
Progress = Callable[[str, Layout, int, int], None]


@dataclass(frozen=True)
class SiteTask:
    """What ``LayoutSolver.solve`` takes for one site."""

    W: csr_matrix
    nets: csr_matrix | BoolArray | Nets | None
    block: int
    line: int
    previous: IntArray | None = None


def fit_sites(
    tasks: Mapping[str, SiteTask],
    solver: LayoutSolver,
    *,
    time_budget_s: float | None = None,
    workers: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Layout]:
    """A layout for every site, in the order of ``tasks``.

    Sites run on ``workers`` threads (the cores this process may use by default; the kernels hold no
    interpreter lock), largest first. ``time_budget_s`` is shared out as sites start: what is left, times
    the workers, over the sites that are left, never more than the solver's own budget. A site that times
    out is tried once more and then kept or failed as ``solver.on_timeout`` says. ``progress(name,
    layout, done, total)`` is called here, as sites end; with ``cache_dir`` solved sites are remembered
    there (icd.solver.cache). The layouts depend on neither workers nor order
    unless a budget cut one short. Raises what the first failing site raises.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"workers: expected a positive number of threads, got {workers!r}")
    solver.compile()
    threads = workers or available_cores()
    clock = Clock(float("inf") if time_budget_s is None else time_budget_s)
    queue = sorted(tasks, key=lambda name: tasks[name].W.shape[0], reverse=True)
    done: dict[str, Layout] = {}
    with ThreadPoolExecutor(threads, thread_name_prefix="layout") as pool:
        running: dict[Future[Layout], str] = {}
        try:
            while queue or running:
                while queue and len(running) < threads:
                    share = clock.left() * min(threads, len(queue)) / len(queue)
                    budget = max(1e-6, min(solver.time_budget_s, share))
                    name = queue.pop(0)
                    limited = replace(solver, time_budget_s=budget)
                    running[pool.submit(solve_or_keep, limited, tasks[name], cache_dir, clock.left)] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    name = running.pop(future)
                    done[name] = future.result()
                    if progress is not None:
                        progress(name, done[name], len(done), len(tasks))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return {name: done[name] for name in tasks}


def solve_or_keep(
    solver: LayoutSolver,
    task: SiteTask,
    cache_dir: Path | None = None,
    left: Callable[[], float] = lambda: float("inf"),
) -> Layout:
    """One site: on a timeout tried once more, then the initial layout is kept, or SolverTimeout raised.

    The second try has what is ``left`` of the model's budget, and is not made where nothing is.
    """
    W, nets, block, line, previous = task.W, task.nets, task.block, task.line, task.previous
    for again in (False, True):
        limited = replace(solver, time_budget_s=max(1e-9, min(solver.time_budget_s, left())))
        player = limited if cache_dir is None else CachedSolver(limited, cache_dir)
        try:
            return player.solve(W, nets, block=block, line=line, previous=previous)
        except SolverTimeout as timeout:
            if again or left() <= 0.0:
                if solver.on_timeout == "fail":
                    raise
                break
            log.warning("%s; trying once more", timeout)
    problem = pose(W, nets, block=block, line=line, previous=previous, objective=solver.objective)
    book = Book(problem, Clock(0.0))
    book.clock.expired()
    book.enter("kept", problem.initial)
    return book.close("kept")


def available_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
