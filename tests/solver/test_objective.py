from __future__ import annotations

import layout_twins as twins
import numpy as np
import pytest
from layout_instances import random_graph
from scipy import sparse

from icd.contracts import Nets
from icd.solver.objective import (
    Objective,
    better,
    cost_c,
    evaluate,
    modularity,
    phi_max,
    r_align,
    r_stab,
    tiles,
)

SHAPES = [(60, 8, 4), (60, 4, 8), (37, 6, 4), (12, 1, 1), (12, 2, 1), (9, 32, 32)]


@pytest.mark.parametrize("size, block, line", SHAPES)
def test_every_term_equals_its_plain_definition(size, block, line):
    W = random_graph(size, seed=size)
    rng = np.random.default_rng(1)
    pi, previous = rng.permutation(size).astype(np.int32), rng.permutation(size).astype(np.int32)
    pins, weights = rng.random((20, size)) < 0.2, rng.integers(1, 9, 20).astype(float)
    score = evaluate(W, Nets(sparse.csr_matrix(pins), weights), pi, block=block, line=line, previous=previous)
    dense = W.toarray()
    w_sum = dense.sum() / 2
    expected_c = twins.cost_c(dense, pi, line)
    top = phi_max(size, line, Objective())
    assert score["C_raw"] == pytest.approx(expected_c)
    assert score["C"] == pytest.approx(expected_c / (top * w_sum) if top else 0.0)
    assert score["W_sum"] == pytest.approx(w_sum)
    assert score["Q"] == pytest.approx(twins.modularity(dense, pi, block))
    assert score["R_align"] == pytest.approx(twins.r_align(dense, pi, line))
    assert score["R_stab"] == pytest.approx(twins.r_stab(pi, previous, block))
    assert score["T"] == twins.tiles(pins, weights, pi, block)
    assert score["J"] == pytest.approx(
        score["C"] + 0.2 * score["R_align"] + 0.1 * score["R_stab"] - 0.5 * score["Q"]
    )


def test_distances_beyond_lambda_are_charged_at_the_flatter_rate():
    W = sparse.csr_matrix(([1.0, 1.0], ([0, 9], [9, 0])), shape=(10, 10))
    pi = np.arange(10, dtype=np.int32)
    assert cost_c(W, pi, line=1, objective=Objective(lam=3, tau=0.25)) == pytest.approx(3 + 0.25 * 6)
    assert cost_c(W, pi, line=1, objective=Objective(lam=100)) == pytest.approx(9)


def test_modularity_charges_the_null_term_of_pairs_without_an_edge():
    two_edges = sparse.csr_matrix(np.kron(np.eye(2), [[0, 1], [1, 0]]))
    apart, together = np.arange(4, dtype=np.int32), np.arange(4, dtype=np.int32)
    assert modularity(two_edges, apart, block=2) == pytest.approx(0.5)
    assert modularity(two_edges, together, block=4) == pytest.approx(0.0)


def test_modularity_takes_its_resolution():
    W = random_graph(24)
    pi = np.random.default_rng(0).permutation(24).astype(np.int32)
    assert modularity(W, pi, block=6, resolution=2.5) == pytest.approx(
        twins.modularity(W.toarray(), pi, 6, resolution=2.5)
    )


def test_nothing_is_charged_within_a_line():
    W = random_graph(32)
    pi = np.arange(32, dtype=np.int32)
    assert cost_c(W, pi, line=32, objective=Objective()) == 0.0
    assert r_align(W, pi, line=32) == 0.0


def test_a_larger_line_never_raises_the_cost():
    W = random_graph(64)
    pi = np.random.default_rng(2).permutation(64).astype(np.int32)
    costs = [cost_c(W, pi, line=g, objective=Objective()) for g in (1, 2, 4, 8, 16, 32, 64)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[3] > costs[-1]


def test_stability_counts_moves_beyond_the_horizon_only():
    previous = np.arange(10, dtype=np.int32)
    rolled = np.roll(previous, 2)
    assert r_stab(rolled, previous, horizon=2) == pytest.approx(0.2)
    assert r_stab(rolled, None, horizon=2) == 0.0


def test_a_graph_without_edges_costs_nothing():
    W = sparse.csr_matrix((8, 8))
    score = evaluate(W, None, np.arange(8, dtype=np.int32), block=4, line=4)
    assert (score["C"], score["Q"], score["R_align"], score["J"], score["T"]) == (0, 0, 0, 0, None)


def test_tiles_count_each_touched_block_once_by_weight():
    pins = sparse.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]], bool))
    nets = Nets(pins, np.array([2.0, 10.0, 100.0]))
    assert tiles(nets, np.arange(4, dtype=np.int32), block=2) == 2.0 + 20.0


def test_tiles_decide_before_j_and_j_decides_between_equal_tiles():
    assert better({"T": 9.0, "J": 1.0}, {"T": 10.0, "J": 0.0})
    assert not better({"T": 10.0, "J": 0.0}, {"T": 9.0, "J": 1.0})
    assert better({"T": 9.0, "J": 0.1}, {"T": 9.0, "J": 0.2})
    assert not better({"T": None, "J": 0.2}, {"T": None, "J": 0.2})


TERMS = ("T", "C", "Q", "R_align", "R_stab", "J")
POWERS = [600, 900, -600, -900]


def case(size=60, block=8, line=4):
    rng = np.random.default_rng(5)
    W = random_graph(size, seed=3)
    W.data = np.rint(W.data * 100) + 1  # whole numbers from 1 to 101: exact even as multiples of 5e-324
    pi, previous = rng.permutation(size).astype(np.int32), rng.permutation(size).astype(np.int32)
    return W, lambda graph: evaluate(graph, None, pi, block=block, line=line, previous=previous)


@pytest.mark.parametrize("power", POWERS)
def test_a_power_of_two_in_every_weight_changes_no_bit_of_the_objective(power):
    W, judge = case()
    plain, other = judge(W), judge(W * 2.0**power)
    assert {k: other[k] for k in TERMS} == {k: plain[k] for k in TERMS}
    assert other["C_raw"] == plain["C_raw"] * 2.0**power and other["W_sum"] == plain["W_sum"] * 2.0**power


@pytest.mark.parametrize("factor", [1e200, 1e-200, 1e155, 1e-155, 3e301, 5e-324])
def test_scaling_every_weight_changes_no_term_and_each_is_that_of_its_definition(factor):
    W, judge = case()
    plain, other = judge(W), judge(W * factor)
    assert all(other[k] == pytest.approx(plain[k], rel=1e-12, abs=1e-15) for k in TERMS[1:])
    pi = np.random.default_rng(5).permutation(60).astype(np.int32)
    assert other["Q"] == pytest.approx(twins.modularity(W.toarray(), pi, 8))
    assert other["W_sum"] == pytest.approx(float(W.sum()) / 2 * factor)
    assert modularity(W * factor, pi, block=8) == pytest.approx(other["Q"])
    assert r_align(W * factor, pi, line=4) == pytest.approx(other["R_align"])
    assert cost_c(W * factor, pi, line=4, objective=Objective()) == pytest.approx(other["C_raw"])


@pytest.mark.parametrize(
    "pi", [[0, 1, 2], [0, 1, 2, 4], [0, 1, 2, -1], [0, 1, 2, 2], [[0, 1, 2, 3]], [0.0, 1, 2, 3]], ids=str
)
def test_what_is_no_layout_of_the_graph_never_reaches_the_kernels(pi):
    W = sparse.csr_matrix(np.ones((4, 4)) - np.eye(4))
    with pytest.raises(ValueError, match="layout: expected each of 4 channels"):
        evaluate(W, None, np.array(pi), block=2, line=1)
