from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from layout_instances import planted_graph, planted_nets, random_graph
from scipy import sparse

from icd.contracts import Layout, Nets, Solver
from icd.errors import ConfigError, SolverTimeout
from icd.solver import METHODS, Objective, fit
from icd.solver.objective import tiles
from icd.solver.tile import Tile

STATS = {"before", "after", "improved", "candidates", "chosen", "proposals", "seconds", "time_limited"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_with_a_permutation_and_the_documented_stats(method):
    layout = fit(random_graph(50), block=8, line=4, method=method)
    assert isinstance(layout, Layout)
    assert layout.pi.dtype == np.int32
    assert sorted(layout.pi) == list(range(50))
    assert set(layout.stats) >= STATS
    assert set(layout.stats["after"]) >= {"T", "C", "Q", "R_align", "R_stab", "J"}
    assert layout.stats["chosen"] in layout.stats["candidates"]


@pytest.mark.parametrize(
    "size, block, line", [(12, 1, 1), (12, 2, 1), (12, 1, 2), (1, 1, 1), (2, 2, 2), (3, 64, 64)]
)
@pytest.mark.parametrize("with_nets", [False, True])
def test_sites_of_a_few_heads_are_solved(size, block, line, with_nets):
    pins = np.random.default_rng(0).random((9, size)) < 0.5 if with_nets else None
    layout = fit(random_graph(size), pins, block=block, line=line)
    assert sorted(layout.pi) == list(range(size))


def test_a_last_block_that_is_not_full_keeps_its_size():
    pins = np.zeros((1, 70), bool)
    pins[0, np.random.default_rng(3).choice(70, 33, replace=False)] = True
    layout = fit(random_graph(70), pins, block=32)
    assert layout.stats["after"]["T"] == 2.0
    assert sorted(layout.pi) == list(range(70))


@pytest.mark.parametrize("instance", ["dense", "scattered", "weighted", "pruned", "previous"])
@pytest.mark.parametrize("method", ["tile", "louvain"])
def test_a_search_is_never_worse_than_the_trivial_layouts(instance, method):
    rng = np.random.default_rng(5)
    W, nets, previous = random_graph(96, seed=5), None, None
    if instance == "scattered":
        nets = rng.random((80, 96)) < 0.1
    if instance == "weighted":
        nets = Nets(sparse.csr_matrix(rng.random((80, 96)) < 0.1), rng.random(80))
    if instance == "pruned":
        nets = np.tile(rng.random(96) < 0.5, (7, 1))
    if instance == "previous":
        previous = fit(W, block=16).pi
    stats = fit(W, nets, block=16, method=method, previous=previous, max_proposals=3000).stats
    for name in ("identity", "degree", "spectral", *(["previous"] if previous is not None else [])):
        trivial = stats["candidates"][name]
        assert (stats["after"]["T"] or 0) <= (trivial["T"] or 0)
        if stats["after"]["T"] == trivial["T"]:
            assert stats["after"]["J"] <= trivial["J"] + 1e-9


def test_the_same_seed_and_proposals_give_the_same_layout():
    W, pins = random_graph(128, 0.1), np.random.default_rng(0).random((200, 128)) < 0.2
    first, second, other = (fit(W, pins, block=16, seed=seed, max_proposals=200_000).pi for seed in (3, 3, 4))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_scaling_the_graph_leaves_the_layout_unchanged():
    W, _ = planted_graph(128, 16)
    pi = fit(W, block=16, line=8).pi
    for factor in (1e-6, 0.3, 7.0, 1e9):
        assert np.array_equal(fit(W * factor, block=16, line=8).pi, pi)


def test_groups_of_two_blocks_are_recovered_in_adjacent_blocks():
    W, label = planted_graph(1024, 128)
    layout = fit(W, block=64)
    groups = label[layout.pi].reshape(-1, 64)
    assert (groups == groups[:, :1]).all()
    assert (groups[0::2] == groups[1::2]).all()
    assert layout.stats["after"]["C"] < 0.5 * layout.stats["before"]["C"]


def test_dead_channels_are_gathered_and_live_ones_grouped_by_the_graph():
    W, _ = planted_graph(512, 64)
    live = np.random.default_rng(1).random(512) < 0.5
    W = sparse.csr_matrix(W.multiply(np.outer(live, live)))
    pins = np.tile(live, (20, 1))
    layout = fit(W, pins, block=32)
    assert layout.stats["after"]["T"] == 20 * -(-live.sum() // 32)
    degree = layout.stats["candidates"]["degree"]
    assert degree["T"] == layout.stats["after"]["T"]
    assert layout.stats["after"]["C"] < 0.6 * degree["C"]
    assert layout.stats["after"]["Q"] > degree["Q"] + 0.3


def test_planted_blocks_of_nets_are_recovered_exactly():
    pins = planted_nets(600, 256, 16)
    rng = np.random.default_rng(0)
    picked = rng.random((600, 16)) < 0.2
    ordered = rng.random((600, 256)) < np.where(np.repeat(picked, 16, axis=1), 0.5, 0.01)
    optimum = ordered.reshape(600, 16, 16).any(axis=2).sum()
    assert fit(random_graph(256, 0.05), pins, block=16).stats["after"]["T"] <= optimum


@pytest.mark.parametrize("spread", [0.0, 0.2], ids=["two weights", "every net its own"])
def test_heavy_nets_win_where_nets_disagree(spread):
    heavy, light = planted_nets(300, 128, 16, seed=1), planted_nets(300, 128, 16, seed=2)
    pins = sparse.csr_matrix(np.vstack([heavy, light]))
    jitter = 1.0 + spread * np.random.default_rng(0).random(600)
    W = random_graph(128, 0.05)

    def heavy_tiles(ratio):
        weights = np.repeat([ratio, 1.0], 300) * jitter
        pi = fit(W, Nets(pins, weights), block=16, max_proposals=400_000).pi
        return tiles(Nets(sparse.csr_matrix(heavy), np.ones(300)), pi, block=16)

    alone = fit(W, heavy, block=16, max_proposals=400_000).stats["after"]["T"]
    assert heavy_tiles(50.0) <= 1.01 * alone
    assert heavy_tiles(0.02) > 1.3 * alone


def test_a_second_solve_stays_near_the_previous_layout():
    W, _ = planted_graph(512, 64, outside=0.0)
    first = fit(W, block=64, seed=1)
    second = fit(W, block=64, seed=2, previous=first.pi)
    assert second.stats["after"]["R_stab"] == 0.0
    assert not second.stats["improved"]


def test_a_budget_that_ends_before_the_trivial_layouts_is_a_timeout():
    with pytest.raises(SolverTimeout, match="time_budget_s"):
        fit(random_graph(400), block=8, time_budget_s=1e-9)


def test_a_budget_that_ends_later_is_kept_and_said():
    layout = fit(
        random_graph(256), planted_nets(500, 256, 16), block=16, time_budget_s=1.0, max_proposals=10**10
    )
    assert layout.stats["time_limited"]
    assert layout.stats["seconds"] < 2.0


W_OK = random_graph(8)


@pytest.mark.parametrize(
    "W, nets, options, message",
    [
        (np.ones((3, 4)), None, {}, "square"),
        (sparse.csr_matrix((0, 0)), None, {}, "at least one channel"),
        ([[0, 1], [1, 0]], None, {}, "CSR matrix"),
        (sparse.csr_matrix([[0.0, 1.0], [2.0, 0.0]]), None, {}, "symmetric"),
        (sparse.csr_matrix([[0.0, 1.0], [0.0, 0.0]]), None, {}, "symmetric"),
        (sparse.csr_matrix([[0.0, -1.0], [-1.0, 0.0]]), None, {}, "non-negative"),
        (sparse.csr_matrix([[0.0, np.nan], [np.nan, 0.0]]), None, {}, "finite"),
        (sparse.csr_matrix([[1.0, 0.0], [0.0, 0.0]]), None, {}, "zero diagonal"),
        (W_OK, np.ones((3, 7), bool), {}, r"shape \(nets, 8\)"),
        (W_OK, Nets(sparse.csr_matrix(np.ones((3, 8), bool)), np.ones(2)), {}, "3 weights"),
        (W_OK, Nets(sparse.csr_matrix(np.ones((1, 8), bool)), -np.ones(1)), {}, "non-negative weights"),
        (W_OK, None, {"block": 0}, "block: expected a positive number"),
        (W_OK, None, {"line": 1.5}, "line: expected a positive number"),
        (W_OK, None, {"previous": np.zeros(8, int)}, "permutation of 8 channels"),
        (W_OK, None, {"method": "best"}, "expected one of identity"),
        (W_OK, None, {"time_budget_s": 0.0}, "time_budget_s"),
        (W_OK, None, {"max_proposals": 0}, "max_proposals"),
        (W_OK, None, {"objective": Objective(mu=-1.0)}, "mu: expected a finite number"),
    ],
)
def test_input_that_is_no_problem_is_refused_with_a_sentence(W, nets, options, message):
    with pytest.raises(ConfigError, match=message):
        fit(W, nets, **options)


def test_a_solver_satisfies_the_protocol_and_rejects_an_unknown_timeout_rule():
    solver: Solver = Tile()
    assert sorted(solver.solve(W_OK, None, block=2, line=2, previous=None).pi) == list(range(8))
    with pytest.raises(ConfigError, match="keep or fail"):
        Tile(on_timeout="retry")


def test_solving_compiles_nothing_that_warming_did_not():
    Tile().compile()

    def compiled():
        kernels = [
            kernel
            for name, module in list(sys.modules.items())
            if name.startswith("icd.solver._") and name.endswith("_core")
            for kernel in vars(module).values()
            if hasattr(kernel, "signatures")
        ]
        assert len(kernels) > 20
        return {kernel.py_func.__name__: len(kernel.signatures) for kernel in kernels}

    before = compiled()
    W, pins = random_graph(64), sparse.csr_matrix(np.random.default_rng(0).random((70, 64)) < 0.2)
    wide = W.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    for graph in (W, wide, W.astype(np.float32)):
        graph.data.setflags(write=False)
        for nets in (None, pins, Nets(pins, np.arange(70.0)), Nets(pins.astype(float), np.ones(70))):
            for previous in (None, np.arange(64)):
                fit(graph, nets, block=8, line=4, previous=previous, max_proposals=30_000)
                fit(graph, nets, block=8, line=4, previous=previous, method="louvain")
    assert compiled() == before


def fresh_python(code, cache):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_importing_the_solver_loads_no_compiler_and_no_framework(tmp_path):
    code = (
        "import sys, icd.solver\n"
        + "\n".join(f"import icd.solver.{method}" for method in METHODS)
        + "\nprint([m for m in ('numba', 'torch', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    assert fresh_python(code, tmp_path).strip() == "[]"


@pytest.mark.slow
def test_the_first_solve_compiles_within_fifteen_seconds_of_its_budget(tmp_path):
    source = Path(__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(source)!r})\n"
        "from layout_instances import random_graph, planted_nets\nfrom icd.solver import fit\n"
        "fit(random_graph(256), planted_nets(500, 256, 16), block=16, time_budget_s=1.0, max_proposals=10**9)"
    )
    start = children_cpu_seconds()
    fresh_python(code, tmp_path)
    assert children_cpu_seconds() - start < 1.0 + 15.0


def children_cpu_seconds():
    """CPU time, which other work on the machine does not stretch."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
