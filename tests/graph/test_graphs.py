"""Co-access graphs: symmetric, sparse, and what they count."""

import numpy as np
import pytest

from icd.contracts import Activations
from icd.errors import ConfigError
from icd.graph.activation import Activation
from icd.graph.sparsify import sparsify
from icd.graph.weights import Weights
from icd.model.calibration import collect
from tests.tiny import mock, tiny_bert


@pytest.mark.parametrize("graph", [Activation(0.05, 16, 10**6, "sym"), Weights(16, 10**6, "row")])
def test_every_site_gets_a_symmetric_non_negative_graph_without_diagonal(graph):
    workload = tiny_bert()
    graphs = graph.build(workload, collect(workload))
    assert set(graphs) == {site.name for site in workload.sites}
    for site in workload.sites:
        W = graphs[site.name].W.toarray()
        assert W.shape == (site.size, site.size) and (W >= 0).all() and (np.diag(W) == 0).all()
        assert np.allclose(W, W.T)


def test_channels_that_fire_together_are_joined_and_others_are_not():
    values = np.zeros((40, 40), np.float32)
    values[:20, [3, 7]] = 5.0  # for half of the tokens channels 3 and 7 fire, for the others 11 and 30
    values[20:, [11, 30]] = 5.0
    found = (
        Activation(0.05, 8, 10**6, "none")
        .build(tiny_bert(), Activations({"s": values}, {"s": np.ones(40)}, 40))["s"]
        .W
    )
    assert found[3, 7] == pytest.approx(20 * 25) and found[11, 30] > 0 and found[3, 11] == 0


def test_without_calibration_the_activation_graph_is_refused():
    with pytest.raises(ConfigError, match="use graph=weights"):
        Activation(0.05, 8, 100, "sym").build(mock().build(), None)


def test_the_caps_on_neighbours_and_entries_hold_and_the_strongest_stay():
    dense = np.random.default_rng(0).random((60, 60))
    dense = dense + dense.T
    few = sparsify(dense, per_row=5, nnz_cap=10**6, normalize="none")
    assert few.nnz <= 2 * 5 * 60 and (few != few.T).nnz == 0
    np.fill_diagonal(dense, 0)
    assert all(few[i, dense[i].argmax()] > 0 for i in range(60))
    assert sparsify(dense, per_row=60, nnz_cap=100, normalize="none").nnz <= 100
