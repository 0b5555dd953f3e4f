"""Layouts do not depend on the unit of the weights, nor on the type that they were counted in."""

from __future__ import annotations

import numpy as np
import pytest
from layout_instances import planted_graph, planted_nets
from scipy import sparse

from icd.errors import ConfigError
from icd.pipeline.solved import total_cost
from icd.solver import METHODS, fit
from icd.solver._louvain_core import quality
from icd.solver.communities import find_communities

W, LABELS = planted_graph(96, 16, seed=2)
W.data = np.rint(W.data * 100) + 1
FACTORS = [2.0**600, 1e200, 1e-200, 5e-324]


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("method", METHODS)
def test_every_solver_finds_the_layout_it_finds_without_the_factor(method, factor):
    nets = planted_nets(40, 96, 8) if method == "tile" else None
    plain, other = (
        fit(graph, nets, block=8, line=4, method=method, max_proposals=3000) for graph in (W, W * factor)
    )
    assert np.array_equal(plain.pi, other.pi)
    for when in ("before", "after"):
        for key in ("C", "Q", "R_align", "R_stab", "J"):
            assert other.stats[when][key] == pytest.approx(plain.stats[when][key], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("factor", FACTORS)
def test_communities_and_their_modularity_are_those_without_the_factor(factor):
    plain, other = (find_communities(graph, seed=1) for graph in (W, W * factor))
    assert np.array_equal(plain[0], other[0])
    dense = W.toarray() / W.sum()
    same = plain[0][:, None] == plain[0][None, :]
    share = dense.sum(axis=1)
    assert other[1] == pytest.approx(float((dense - np.outer(share, share))[same].sum()))
    core = (W.indptr.astype(np.int64), W.indices.astype(np.int64), W.data * factor)
    strength = np.asarray((W * factor).sum(axis=1)).ravel()
    assert quality(*core, strength, plain[0], 1.0) == pytest.approx(plain[1])


def test_weights_that_no_sum_can_hold_are_refused():
    with pytest.raises(ConfigError, match=r"whose sum a float64 holds, got more than 1\.8e308"):
        fit(W / W.max() * 1.7e308, block=8)


@pytest.mark.parametrize("factor", [1e200, 1e-200, 5e-324])
def test_the_mean_over_sites_does_not_depend_on_the_unit_of_their_weights(factor):
    cost = {"T": 1.0, "C": 0.25, "Q": 0.5, "J": 0.125}
    other = {"T": 2.0, "C": 0.75, "Q": 0.0, "J": 0.625}
    found = total_cost({"a": {**cost, "W_sum": 3 * factor}, "b": {**other, "W_sum": factor}})
    assert (found["C"], found["Q"], found["J"]) == (0.375, 0.375, 0.25) and found["T"] == 3.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_duplicates_of_a_graph_are_summed_in_float64_and_those_of_nets_are_one_pin(dtype):
    row, column = np.repeat([0, 1, 2, 3], 128), np.repeat([1, 0, 3, 2], 128)
    counted = sparse.coo_matrix((np.ones(512, dtype), (row, column)), shape=(4, 4))
    stats = fit(counted, block=2).stats
    assert stats["after"]["W_sum"] == 256
    pins = sparse.coo_matrix((np.ones(512, dtype), (np.repeat([0, 1], 256), row)), shape=(2, 4))
    assert fit(counted, pins, block=2).stats["after"]["T"] == 2


def broken(name, value):
    graph = W.copy()
    getattr(graph, name)[5] = value
    return graph


@pytest.mark.parametrize(
    "graph",
    [broken("indices", 2**30), broken("indices", -7), broken("indptr", 10**9), broken("indptr", -1), W * 1j],
    ids=["index beyond", "index below", "indptr beyond", "indptr below", "complex"],
)
def test_a_graph_that_would_lead_compiled_code_astray_is_refused(graph):
    with pytest.raises(ConfigError, match=r"W: (not a matrix|expected real numbers)"):
        fit(graph, block=8, method="identity")
    with pytest.raises(ConfigError, match=r"nets: (not a matrix|expected real numbers)"):
        fit(W, graph, block=8, method="identity")
