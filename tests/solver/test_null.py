from __future__ import annotations

import numpy as np
import pytest
from layout_instances import planted_nets, random_graph
from scipy import sparse

from icd.contracts import Nets
from icd.errors import ConfigError
from icd.solver.null import null_gain, reshuffle
from icd.solver.tile import Tile

SOLVER = Tile(max_proposals=200_000)


def test_a_reshuffle_keeps_every_degree_and_changes_the_nets():
    pins = planted_nets(120, 64, 8)
    weights = np.arange(120.0)
    shuffled = reshuffle(Nets(sparse.csr_matrix(pins), weights), seed=1)
    dense = shuffled.matrix.toarray().astype(bool)
    assert np.array_equal(dense.sum(axis=1), pins.sum(axis=1))
    assert np.array_equal(dense.sum(axis=0), pins.sum(axis=0))
    assert np.array_equal(shuffled.weights, weights)
    assert shuffled.matrix.nnz == pins.sum()
    assert (dense != pins).mean() > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_a_random_mask_gains_no_more_than_its_reshuffle(seed):
    pins = np.random.default_rng(seed).random((1500, 512)) < 0.12
    found = null_gain(SOLVER, random_graph(512, 0.05), pins, block=32, line=32)
    assert found.gain <= found.null_gain + 0.5
    assert not found.structured


def test_planted_nets_gain_far_more_than_their_reshuffle():
    found = null_gain(SOLVER, random_graph(256, 0.05), planted_nets(400, 256, 16), block=16, line=16)
    assert found.excess > 20.0
    assert found.structured


def test_whole_channels_removed_are_explained_by_degrees():
    pins = np.tile(np.random.default_rng(0).random(128) < 0.5, (30, 1))
    found = null_gain(SOLVER, random_graph(128), pins, block=16, line=16)
    assert found.gain > 40.0
    assert found.excess == pytest.approx(0.0)


def test_nets_without_channels_are_refused():
    with pytest.raises(ConfigError, match="at least one net"):
        null_gain(SOLVER, random_graph(8), np.zeros((3, 8), bool), block=2, line=2)
