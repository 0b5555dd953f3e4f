"""Recorded and synthetic graphs: W as counted, nets as read, normalisation alike everywhere."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse

from icd.contracts import Accesses
from icd.errors import ConfigError
from icd.graph.nets import build_nets, source_nets
from icd.graph.sparsify import finish, sparsify
from icd.graph.synthetic import Synthetic
from icd.graph.trace import Trace
from tests.tiny import mock, tiny_bert, trace

PLANTED = Synthetic("planted", 16, 8, 0.1, 1.0, 10**6, "none", 0)


def test_the_recorded_weights_are_handed_over_as_they_are(tmp_path):
    A = scipy.sparse.random(20, 20, 0.2, random_state=0)
    A = scipy.sparse.csr_matrix(A + A.T)
    A.setdiag(0)
    A.eliminate_zeros()
    scipy.sparse.save_npz(tmp_path / "a.npz", A)
    workload = trace(path=str(tmp_path / "a.npz"), rows=None).build()
    W = Trace(10**6, "none").build(workload, None)["rows"].W
    assert abs(W - A).max() < 1e-15


def test_counts_of_both_directions_add_up_and_reading_a_row_twice_is_no_edge():
    given = Accesses(np.array([0, 1, 2]), np.array([1, 0, 2]), np.array([2.0, 3.0, 9.0]))
    W = Trace(10, "none")._one(given, 3).W.toarray()
    assert W[0, 1] == W[1, 0] == 5 and W.sum() == 10
    with pytest.raises(ConfigError, match="joins two different rows"):
        Trace(10, "none")._one(Accesses(np.array([1]), np.array([1]), np.ones(1)), 3)


def test_a_model_without_a_trace_is_refused():
    with pytest.raises(ConfigError, match=r"model=mock has none for layers\.0\.neurons"):
        Trace(10, "none").build(mock().build(), None)


def test_nets_are_what_a_visit_of_a_source_reads_of_the_live_rows():
    given = Accesses(np.array([0, 0, 3, 1]), np.array([1, 2, 0, 4]), np.array([1.0, 3.0, 5.0, 7.0]))
    nets = source_nets(given, np.array([True, False, True, True, False]), block_bytes=10)
    assert nets.matrix.toarray().astype(int).tolist() == [[1, 0, 1, 0, 0], [1, 0, 0, 1, 0]]
    assert nets.weights.tolist() == [20, 50]  # visits 2 and 5; source 1 and its target are both gone


def test_t_of_a_trace_counts_the_blocks_that_visits_touch():
    from icd.solver.objective import tiles

    workload = trace().build()
    nets = build_nets(workload, tile_rows=64, tile_cols=64, element_bytes=4)["rows"]
    pi = np.random.default_rng(0).permutation(256).astype(np.int32)
    found, block, total = workload.accesses["rows"], np.argsort(pi) // 8, 0.0
    for source in set(found.source):
        mine = found.source == source
        touched = {block[source], *block[found.target[mine]]}
        total += found.weight[mine].mean() * len(touched) * 64 * 4
    assert tiles(nets, pi, block=8) == pytest.approx(total)


@pytest.mark.parametrize("normalize", ["sym", "row", "none"])
def test_a_sparse_graph_is_finished_as_a_dense_one_is(normalize):
    dense = np.random.default_rng(0).random((30, 30))
    dense = dense + dense.T
    dense[4] = dense[:, 4] = 0
    sparse = finish(scipy.sparse.csr_matrix(dense), nnz_cap=10**6, normalize=normalize)
    assert np.allclose(
        sparse.toarray(), sparsify(dense, per_row=30, nnz_cap=10**6, normalize=normalize).toarray()
    )
    few = finish(scipy.sparse.csr_matrix(dense), nnz_cap=50, normalize=normalize)
    assert 0 < few.nnz <= 50 and (few != few.T).nnz == 0


def test_planted_groups_are_there_and_lognormal_graphs_have_none():
    W = PLANTED.draw("s", 128).W
    other = Synthetic("lognormal", 16, 8, 0.1, 1.0, 10**6, "none", 0).draw("s", 128).W
    from icd.solver import fit

    q = {name: fit(g, None, block=16, method="louvain").stats["after"]["Q"] for name, g in
         (("planted", W), ("lognormal", other))}  # fmt: skip
    assert q["planted"] > 0.6 > q["lognormal"] + 0.2


def test_a_synthetic_graph_depends_on_seed_and_site_alone():
    a, b = (PLANTED.build(w, None) for w in (mock().build(), mock(noise=0.5).build()))
    assert all((a[s].W != b[s].W).nnz == 0 for s in a)
    first, second = (a[s].W for s in sorted(a))
    assert (first != second).nnz > 0
    assert PLANTED.build(tiny_bert(), None)["encoder.layer.0.heads"].W.nnz > 0  # four channels


@pytest.mark.parametrize(
    "bad", [{"group": 1}, {"outside": 1.5}, {"sigma": -1.0}, {"degree": 0}, {"nnz_cap": 0}]
)
def test_impossible_synthetic_graphs_are_refused(bad):
    fields = {**vars(PLANTED), **bad}
    with pytest.raises(ConfigError, match=next(iter(bad))):
        Synthetic(**fields)


@pytest.mark.parametrize("factor", [2.0**600, 2.0**-600, 2.0**1000, 2.0**-1000])
@pytest.mark.parametrize("normalize", ["sym", "row", "none"])
def test_a_graph_of_any_unit_is_normalised_as_one_near_1(normalize, factor):
    dense = np.random.default_rng(0).random((30, 30))
    dense = dense + dense.T
    unit = 1.0 if normalize == "row" else factor
    for build in (
        lambda A: finish(scipy.sparse.csr_matrix(A), nnz_cap=300, normalize=normalize),
        lambda A: sparsify(A, per_row=10, nnz_cap=300, normalize=normalize),
    ):
        plain, other = build(dense).toarray(), build(dense * factor).toarray()
        assert other.any() and np.allclose(other, plain * unit, rtol=1e-14, atol=0.0)
