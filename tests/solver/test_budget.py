"""The time budget is a ceiling, memory is bounded, and what is cut short is still a layout."""

from __future__ import annotations

import time

import numpy as np
import pytest
from layout_instances import planted_graph, planted_nets
from scipy import sparse

from icd.errors import SolverTimeout
from icd.solver import arrange, cells, pack_tiles
from icd.solver._louvain_core import local_moving
from icd.solver._slot_core import order_blocks
from icd.solver._start_core import grow_blocks, jaccard_neighbours
from icd.solver.book import Clock
from icd.solver.cells import make_cells
from icd.solver.communities import find_communities
from icd.solver.louvain import Louvain
from icd.solver.objective import Objective
from icd.solver.parallel import SiteTask, fit_sites
from icd.solver.problem import pose
from icd.solver.tile import Tile
from icd.solver.trivial import fiedler_order

RUNG = np.ones(1, np.uint8)


def ring(size, reach=4, seed=0):
    """Each channel linked with its next ones, in a random order of channels."""
    rng = np.random.default_rng(seed)
    name = rng.permutation(size)
    a = np.repeat(name, reach)
    b = name[(np.arange(size)[:, None] + np.arange(1, reach + 1)).ravel() % size]
    upper = sparse.coo_matrix((rng.random(len(a)) + 0.1, (a, b)), shape=(size, size))
    return sparse.csr_matrix(upper + upper.T)


@pytest.mark.parametrize("solver", [Tile, Louvain])
def test_a_large_site_with_small_blocks_ends_with_its_budget(solver):
    W = ring(60_000)
    solver().compile()
    start = time.perf_counter()
    try:
        layout = solver(time_budget_s=1.0).solve(W, None, block=8, line=8)
        assert layout.stats["time_limited"] and np.array_equal(np.sort(layout.pi), np.arange(60_000))
    except SolverTimeout:
        pass
    assert time.perf_counter() - start < 3.0


def test_a_large_mask_ends_with_its_budget():
    rng = np.random.default_rng(0)
    pins = sparse.csr_matrix(
        (np.ones(400_000, bool), (rng.integers(0, 4000, 400_000), rng.integers(0, 30_000, 400_000))),
        shape=(4000, 30_000),
    )
    Tile().compile()
    start = time.perf_counter()
    try:
        layout = Tile(time_budget_s=1.0).solve(ring(30_000), pins, block=8, line=8)
        assert np.array_equal(np.sort(layout.pi), np.arange(30_000))
    except SolverTimeout:
        pass
    assert time.perf_counter() - start < 3.0


def test_a_second_try_has_no_more_than_the_models_budget():
    W = ring(20_000)
    Tile().compile()
    start = time.perf_counter()
    kept = fit_sites({"a": SiteTask(W, None, 8, 8)}, Tile(), time_budget_s=1e-3, workers=1)
    assert kept["a"].stats["chosen"] == "kept" and time.perf_counter() - start < 3.0


def test_every_kernel_that_is_told_to_stop_leaves_what_can_be_used():
    pins = sparse.csr_matrix(planted_nets(30, 64, 8))
    by_channel = pins.T.tocsr()
    order = grow_blocks(
        pins.indptr, pins.indices, by_channel.indptr, by_channel.indices, np.ones(30), 8, RUNG
    )
    assert order.tolist() == list(range(64))
    bits = np.random.default_rng(0).integers(0, 2**63, (64, 3), dtype=np.uint64)
    assert set(jaccard_neighbours(bits, 5, RUNG).ravel()) <= set(range(64))
    slot = np.arange(8)[::-1].copy()
    between = np.random.default_rng(1).random((8, 8))
    assert order_blocks(between, between, np.zeros((8, 8)), slot, 9, RUNG) == 0.0
    assert slot.tolist() == list(range(8))[::-1]
    W = planted_graph(64, 16)[0]
    labels, bounds = np.arange(64), np.zeros(64, np.int64)
    strength = np.asarray(W.sum(axis=1)).ravel()
    arrays = (W.indptr.astype(np.int64), W.indices.astype(np.int64), W.data, strength)
    assert local_moving(*arrays, labels, bounds, 1 / strength.sum(), np.arange(64), RUNG) == 0
    assert labels.tolist() == list(range(64))
    found, _ = find_communities(W, stop=RUNG, expired=lambda: True)
    assert sorted(set(found)) == list(range(found.max() + 1))
    assert sorted(fiedler_order(W, lambda: True)) == list(range(64))


def test_an_alarm_rings_while_compiled_code_runs_and_the_clock_says_so():
    W, _ = planted_graph(1024, 32)
    clock = Clock(0.05)
    with clock.alarm() as stop:
        time.sleep(0.3)
        assert stop.tolist() == [1]
    assert clock.limited
    with Clock(60.0).alarm() as stop:
        find_communities(W, kicks=0, stop=stop)
    assert stop.tolist() == [0]


def test_tables_that_would_be_too_large_are_not_made_and_the_record_says_which(monkeypatch):
    W, _ = planted_graph(96, 16)
    nets = planted_nets(40, 96, 8)
    whole = Tile(max_proposals=4000).solve(W, nets, block=8, line=4)
    assert "left_out" not in whole.stats
    monkeypatch.setattr(cells, "MAX_WEIGHTS", 96)
    monkeypatch.setattr(pack_tiles, "MOST_BYTES", 10)
    layout = Tile(max_proposals=4000).solve(W, nets, block=8, line=4)
    assert set(layout.stats["left_out"]) == {"cells", "tiles"} and layout.stats["proposals"] == 0
    assert np.array_equal(np.sort(layout.pi), np.arange(96))
    assert layout.stats["after"]["T"] <= layout.stats["before"]["T"]


def test_a_hundred_thousand_channels_in_blocks_of_8_have_no_table_of_cells():
    problem = pose(ring(100_000, 1), None, block=8, line=8, previous=None, objective=Objective())
    made = make_cells(problem)
    assert not made.searched and made.cost.size == 0 and len(made.of) == 100_000


def test_a_table_made_in_parts_is_the_table_made_at_once(monkeypatch):
    problem = pose(ring(200), None, block=8, line=4, previous=None, objective=Objective())
    whole = make_cells(problem)
    monkeypatch.setattr(cells, "ROWS", 1)
    assert np.array_equal(make_cells(problem).cost, whole.cost)
    weights = Objective()
    i, j = 3, 17  # by the definition of J
    d = abs(whole.line[i] - whole.line[j])
    top = weights.lam + weights.tau * (49 - weights.lam)
    said = (weights.lam + weights.tau * (d - weights.lam)) / top + weights.beta
    total = problem.strength.sum() / 2
    assert whole.cost[i, j] * total / whole.scale == pytest.approx(said, rel=1e-5)


def test_chunks_are_as_long_as_ever_where_looking_at_the_clock_costs_nothing():
    assert arrange.CHUNK_WORK // arrange.CHUNK >= 4096 and pack_tiles.CHUNK_WORK // pack_tiles.CHUNK >= 2048
