"""model=mock: the graph of its weights is the partition that was planted."""

import numpy as np

from icd.graph.weights import Weights
from tests.tiny import mock


def test_the_graph_of_the_weights_is_the_planted_graph():
    workload = mock(layers=1).build()
    W = Weights(per_row=64, nnz_cap=10**6, normalize="sym").build(workload, None)["layers.0.neurons"].W
    up = workload.module.layers[0].up.weight.numpy()
    group = np.abs(up).reshape(256, 4, 16).sum(2).argmax(1)  # each group reads one span of 16 inputs
    assert np.bincount(group).tolist() == [64] * 4
    i, j = W.nonzero()
    inside = W.data[group[i] == group[j]].sum() / W.data.sum()
    assert inside > 0.9


def test_the_same_seed_builds_the_same_weights_and_another_seed_others():
    a, b, c = (mock(seed=s).build().module.layers[0].up.weight for s in (0, 0, 1))
    assert (a == b).all() and not (a == c).all()
