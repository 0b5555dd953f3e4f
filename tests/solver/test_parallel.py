from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from layout_instances import planted_graph, planted_nets, random_graph

from icd.errors import ConfigError, SolverTimeout
from icd.solver.parallel import SiteTask, fit_sites, solve_or_keep
from icd.solver.tile import Tile


def sites(count=5):
    return {
        f"site{i}": SiteTask(planted_graph(64 * (i + 1), 16, seed=i)[0], None, block=16, line=8)
        for i in range(count)
    }


def test_sites_solved_together_get_the_layouts_they_get_alone():
    solver = Tile(seed=4, max_proposals=20_000)
    together = fit_sites(sites(), solver, workers=2)
    assert list(together) == list(sites())
    for name, task in sites().items():
        alone = solver.solve(task.W, task.nets, block=task.block, line=task.line, previous=None)
        assert np.array_equal(together[name].pi, alone.pi)


def test_progress_is_told_of_every_site_in_the_calling_thread():
    heard = []
    fit_sites(
        sites(4),
        Tile(max_proposals=1000),
        progress=lambda name, layout, done, total: heard.append(
            (name, done, total, threading.current_thread() is threading.main_thread())
        ),
    )
    assert {name for name, *_ in heard} == set(sites(4))
    assert [(done, total, here) for _, done, total, here in heard] == [(i, 4, True) for i in range(1, 5)]


def test_the_budget_covers_the_whole_model():
    tasks = {
        str(i): SiteTask(random_graph(128, seed=i), planted_nets(300, 128, 16, seed=i), 16, 16)
        for i in range(6)
    }
    Tile().compile()
    start = time.perf_counter()
    layouts = fit_sites(tasks, Tile(max_proposals=10**10), time_budget_s=3.0, workers=2)
    assert time.perf_counter() - start < 5.0
    assert all(layout.stats["time_limited"] for layout in layouts.values())


def test_a_site_that_times_out_twice_keeps_its_layout_or_fails_as_configured():
    previous = np.arange(300, dtype=np.int32)[::-1].copy()
    task = SiteTask(random_graph(300), None, block=8, line=8, previous=previous)
    kept = solve_or_keep(Tile(time_budget_s=1e-9), task)
    assert np.array_equal(kept.pi, previous)
    assert kept.stats["chosen"] == "kept"
    assert kept.stats["time_limited"] and not kept.stats["improved"]
    with pytest.raises(SolverTimeout):
        solve_or_keep(Tile(time_budget_s=1e-9, on_timeout="fail"), task)


def test_a_bad_site_ends_the_model_with_its_message():
    tasks = {**sites(2), "bad": SiteTask(random_graph(8), np.ones((2, 9), bool), 2, 2)}
    with pytest.raises(ConfigError, match=r"nets: expected shape \(nets, 8\)"):
        fit_sites(tasks, Tile(max_proposals=1000))
    with pytest.raises(ConfigError, match="workers"):
        fit_sites(tasks, Tile(), workers=0)
