"""The numeric cores against plain numpy."""

from __future__ import annotations

from dataclasses import replace

import layout_twins as twins
import numpy as np
import pytest
from layout_instances import planted_graph, random_graph
from scipy import sparse

from icd.contracts import Nets, inverse
from icd.solver._bitset_core import anneal, block_state, swap_gain_equal, swap_gain_weighted
from icd.solver._cell_core import anneal_cells, strongest_neighbours, weight_to_cells
from icd.solver._louvain_core import aggregate, quality
from icd.solver._random_core import below, seeded, uniform
from icd.solver._slot_core import order_blocks
from icd.solver._start_core import grow_blocks, jaccard_neighbours
from icd.solver.cells import make_cells
from icd.solver.communities import find_communities
from icd.solver.objective import Objective
from icd.solver.problem import pose
from icd.solver.reduce import MAX_CLASSES, channel_classes, reduce_nets
from icd.solver.trivial import fiedler


def some_nets(weights="equal", nets=90, size=45, seed=0):
    rng = np.random.default_rng(seed)
    pins = rng.random((nets, size)) < 0.15
    value = {"equal": np.ones(nets), "few": rng.integers(1, 4, nets).astype(float), "many": rng.random(nets)}
    return Nets(sparse.csr_matrix(pins), value[weights]), pins, value[weights]


@pytest.mark.parametrize("weights", ["equal", "few"])
def test_the_gain_of_every_swap_equals_the_difference_of_tiles(weights):
    nets, pins, value = some_nets(weights)
    reduced, order = reduce_nets(nets), np.random.default_rng(1).permutation(45).astype(np.int32)
    bits = reduced.bits()
    _, ge1, one = block_state(bits, order, 8)
    before = twins.tiles(pins, value, order, 8)
    for p, q in [(0, 8), (3, 44), (17, 30), (33, 44), (9, 22)]:
        swapped = order.copy()
        swapped[[p, q]] = swapped[[q, p]]
        place = order[p], p // 8, order[q], q // 8
        gain = swap_gain_weighted(bits, ge1, one, reduced.value, *place)
        if weights == "equal":
            assert swap_gain_equal(bits, ge1, one, *place) == gain
        assert gain * reduced.unit == pytest.approx(before - twins.tiles(pins, value, swapped, 8))


@pytest.mark.parametrize("weights", ["equal", "few"])
def test_annealing_keeps_its_books_to_the_last_bit(weights):
    nets, pins, value = some_nets(weights)
    reduced, order = reduce_nets(nets), np.arange(45, dtype=np.int32)
    bits, pos = reduced.bits(), np.arange(45, dtype=np.int32)
    state = block_state(bits, order, 8)
    near = jaccard_neighbours(bits, 5)
    before = twins.tiles(pins, value, order, 8)
    saved = anneal(
        bits, *state, reduced.value, weights == "equal", order, pos, 8, near, 3.0, 0.9999, 20_000, seeded(0)
    )
    assert saved * reduced.unit == pytest.approx(before - twins.tiles(pins, value, order, 8))
    assert np.array_equal(pos, inverse(order))
    for kept, fresh in zip(state, block_state(bits, order, 8), strict=True):
        assert np.array_equal(kept, fresh)


def test_reduction_merges_equal_nets_and_drops_those_no_layout_changes():
    pins = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]], bool)
    reduced = reduce_nets(Nets(sparse.csr_matrix(pins), np.array([1.0, 5.0, 2.0, 9.0, 4.0, 0.0])))
    found = {
        tuple(row): w
        for row, w in zip(reduced.matrix.toarray().astype(int), reduced.weights * reduced.unit, strict=True)
    }
    assert found == {(1, 1, 0): 3.0, (0, 1, 0): 4.0}


def test_words_hold_nets_of_one_weight_and_many_weights_are_classed():
    few = reduce_nets(some_nets("few")[0])
    for slot, weight in zip(few.slot, few.weights, strict=True):
        assert few.value[slot // 64] == pytest.approx(weight)
    assert len(set(few.slot)) == len(few.slot)
    many = reduce_nets(some_nets("many", nets=300)[0])
    assert len(set(many.value)) <= MAX_CLASSES
    assert many.value[many.slot // 64].sum() == pytest.approx(many.weights.sum())


def test_classes_are_the_channels_with_equal_columns():
    pins = np.random.default_rng(0).random((3, 40)) < 0.5
    classes = channel_classes(reduce_nets(Nets(sparse.csr_matrix(pins), np.ones(3))))
    for i in range(40):
        for j in range(40):
            assert (classes[i] == classes[j]) == np.array_equal(pins[:, i], pins[:, j])


def test_similar_channels_are_those_of_highest_jaccard_overlap():
    _, pins, _ = some_nets(nets=64)
    bits = reduce_nets(Nets(sparse.csr_matrix(pins), np.ones(64))).bits()
    near = jaccard_neighbours(bits, 4)
    X = pins.astype(float)
    common, size = X.T @ X, X.sum(axis=0)
    overlap = common / np.maximum(1, size[:, None] + size[None, :] - common)
    np.fill_diagonal(overlap, -1)
    for c in range(45):
        assert overlap[c, near[c]] == pytest.approx(np.sort(overlap[c])[::-1][:4])


def test_grown_blocks_take_the_channel_that_adds_least():
    pins = np.kron(np.eye(4, dtype=bool), np.ones((3, 5), bool))[:, np.random.default_rng(0).permutation(20)]
    matrix = sparse.csr_matrix(pins)
    by_channel = matrix.T.tocsr()
    order = grow_blocks(matrix.indptr, matrix.indices, by_channel.indptr, by_channel.indices, np.ones(12), 5)
    assert twins.tiles(pins, np.ones(12), order, 5) == 12
    assert sorted(order) == list(range(20))


@pytest.mark.parametrize("size, block, line", [(60, 8, 4), (60, 6, 4), (48, 4, 8), (50, 8, 8)])
@pytest.mark.parametrize("with_previous", [False, True])
def test_cell_annealing_accounts_for_j_exactly(size, block, line, with_previous):
    rng = np.random.default_rng(0)
    W = sparse.csr_matrix(np.rint(random_graph(size).toarray() * 4095))
    previous = rng.permutation(size).astype(np.int32) if with_previous else None
    objective = Objective(alpha=0.7, beta=0.3, mu=0.6, gamma_s=0.4, resolution=1.3)
    problem = pose(W, None, block=block, line=line, previous=previous, objective=objective)
    cells, graph = make_cells(problem), (problem.levels.indptr, problem.levels.indices, problem.levels.data)
    order = rng.permutation(size).astype(np.int32)
    pos, start = inverse(order), order.copy()
    S = weight_to_cells(*graph, pos, cells.of, len(cells.block))
    load = np.bincount(pos // block, weights=problem.strength)
    null_price = objective.mu * objective.resolution / problem.strength.sum() ** 2 * cells.scale
    move_price = objective.gamma_s / size * cells.scale if with_previous else 0.0
    change = anneal_cells(
        S, cells.cost, *graph, problem.strength, load, cells.of, cells.start, cells.block, order, pos,
        np.arange(size, dtype=np.int32), np.zeros(size, np.int32), strongest_neighbours(*graph, 8),
        inverse(problem.initial).astype(np.int64), block, null_price, move_price, 0.2,
        1e-3 * cells.scale, 0.9999, 20_000, seeded(0),
    )  # fmt: skip
    scored = replace(problem, W=problem.levels)
    j = [scored.evaluate(pi)["J"] for pi in (start, order)]
    assert not np.array_equal(start, order)
    assert change / cells.scale == pytest.approx(j[1] - j[0], abs=1e-6)
    assert np.array_equal(S, weight_to_cells(*graph, pos, cells.of, len(cells.block)))
    assert load == pytest.approx(np.bincount(pos // block, weights=problem.strength))


def test_blocks_in_a_chain_are_put_in_the_chain_s_order():
    chain = np.diag(np.ones(7), 1) + np.diag(np.ones(7), -1)
    mixed = np.random.default_rng(0).permutation(8)
    between = chain[np.ix_(mixed, mixed)].copy()
    apart = np.abs(np.subtract.outer(np.arange(8.0), np.arange(8.0)))
    slot = np.arange(8)
    before = (between * apart).sum() / 2
    saved = order_blocks(between, apart, np.zeros((8, 8)), slot, 50)
    after = (between * apart[np.ix_(slot, slot)]).sum() / 2
    assert after == 7.0
    assert saved == pytest.approx(before - after)


def test_the_fiedler_vector_is_the_second_eigenvector():
    W = random_graph(70)
    root = np.sqrt(np.asarray(W.sum(axis=1)).ravel())
    values, vectors = np.linalg.eigh(W.toarray() / np.outer(root, root))
    found = fiedler(W) * root
    found /= np.linalg.norm(found)
    assert abs(found @ vectors[:, -2]) == pytest.approx(1.0, abs=1e-6)
    assert values[-2] < values[-1]


def test_aggregation_keeps_modularity():
    W, _ = planted_graph(60, 10)
    labels = np.random.default_rng(0).integers(0, 6, 60)
    strength = np.asarray(W.sum(axis=1)).ravel()
    arrays = (W.indptr.astype(np.int64), W.indices.astype(np.int64), W.data, strength)
    ptr, indices, data, total = aggregate(*arrays, labels, 6)
    coarse = np.zeros((6, 6))
    for c in range(6):
        coarse[c, indices[ptr[c] : ptr[c + 1]]] = data[ptr[c] : ptr[c + 1]]
    member = np.eye(6)[labels]
    expected = member.T @ W.toarray() @ member
    np.fill_diagonal(expected, 0.0)
    assert coarse == pytest.approx(expected)
    assert total == pytest.approx(member.T @ strength)
    dense, two_m = W.toarray(), W.sum()
    same = labels[:, None] == labels[None, :]
    assert quality(*arrays, labels, 1.0) == pytest.approx(
        ((dense - np.outer(strength, strength) / two_m) * same).sum() / two_m
    )


def test_planted_communities_are_found():
    W, label = planted_graph(400, 20, inside=0.9)
    found, q = find_communities(W, kicks=0)
    assert len(np.unique(found)) == 20
    assert all(len(np.unique(label[found == c])) == 1 for c in range(20))
    assert q == pytest.approx(
        sum(
            W[found == c][:, found == c].sum() / W.sum() - (W[found == c].sum() / W.sum()) ** 2
            for c in range(20)
        )
    )


def test_random_numbers_cover_their_range_evenly():
    state = seeded(1)
    drawn = np.bincount([below(state, 10) for _ in range(20_000)], minlength=10)
    assert len(drawn) == 10
    assert abs(drawn - 2000).max() < 200
    values = [uniform(state) for _ in range(5000)]
    assert min(values) >= 0.0 and max(values) < 1.0
    assert np.mean(values) == pytest.approx(0.5, abs=0.02)
