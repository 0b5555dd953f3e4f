"""Nets: T computed from them equals the number of tiles counted on the weights themselves."""

import numpy as np
import pytest
import torch

from icd.graph.nets import build_nets
from icd.transform.permute import permute
from tests.tiny import tiny_bert


def count_by_hand(workload, site, rows, cols, element_bytes):
    """Bytes of non-empty tiles of every tied matrix of the permuted module."""
    total = 0.0
    for axis in site.axes:
        weight = workload.module.get_parameter(axis.parameter)
        if weight.ndim < 2:
            continue
        matrix = weight.movedim(axis.dim, 1).numpy() if axis.dim == 0 else weight.numpy()
        matrix = matrix[:, axis.offset : axis.offset + site.size * axis.repeat]
        width = site.block(cols) * axis.repeat
        for r in range(0, matrix.shape[0], rows):
            for c in range(0, matrix.shape[1], width):
                tile = matrix[r : r + rows, c : c + width]
                if (tile != 0).any():
                    total += len(tile) * width * element_bytes
    return total


@pytest.mark.parametrize("sites", [{}, {"attention": "dims"}], ids=["heads", "dims"])
def test_t_of_the_nets_is_the_count_on_the_weights_under_any_layout(sites):
    from icd.solver.objective import tiles

    workload = tiny_bert(**sites)
    generator = torch.Generator().manual_seed(0)
    for p in workload.module.parameters():
        if p.ndim == 2:
            p.data *= torch.rand(p.shape, generator=generator) < 0.002
    nets = build_nets(workload, tile_rows=16, tile_cols=32, element_bytes=2)
    rng = np.random.default_rng(0)
    layouts = {site.name: rng.permutation(site.size).astype(np.int32) for site in workload.sites}
    for site in workload.sites:
        one = permute(workload, {site.name: layouts[site.name]})
        block = site.block(32)
        expected = count_by_hand(one, site, 16, 32, 2)
        assert tiles(nets[site.name], layouts[site.name], block=block) == expected
        # nets of the permuted model are those of the dense one: they are kept in dense order
        again = build_nets(one, tile_rows=16, tile_cols=32, element_bytes=2)[site.name]
        assert (again.matrix != nets[site.name].matrix).nnz == 0


def test_a_dense_weight_gives_one_merged_net_that_weighs_all_rows():
    workload = tiny_bert()
    nets = build_nets(workload, tile_rows=16, tile_cols=32, element_bytes=4)["encoder.layer.0.neurons"]
    assert nets.matrix.shape == (1, 256)
    assert nets.weights.tolist() == [2 * 64 * 32 * 4]  # up and down: 64 inputs or outputs x 32 columns
