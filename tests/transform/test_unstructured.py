"""transform=unstructured: single weights go, every channel lives, and no layout empties a tile."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icd.errors import ConfigError
from icd.graph.nets import build_nets
from icd.transform.permute import permute, restore
from icd.transform.unstructured import Unstructured, input_norms
from tests.tiny import mock, tiny_bert


def unstructured(**changes):
    fields = {"sparsity": 0.5, "score": "magnitude", "groups": ["neurons", "heads"], "seed": 0}
    return Unstructured(**{**fields, **changes})


@pytest.mark.parametrize("score", ["magnitude", "wanda", "random"])
@pytest.mark.parametrize("recover", ["none", "lstsq"])
def test_the_share_asked_for_is_zero_in_every_row_and_every_channel_is_live(score, recover):
    workload = tiny_bert()
    out = unstructured(score=score, sparsity=0.75, recover=recover).apply(workload, None)
    names = unstructured().layers(workload)
    assert len(names) == 12
    for name in names:
        zeros = (out.module.get_parameter(f"{name}.weight") == 0).sum(1)
        assert (zeros == round(0.75 * out.module.get_submodule(name).in_features)).all()
    assert all(out.live_mask(site).all() for site in out.sites)
    assert out.notes["unstructured"]["zeroed"] == 0.75 * out.notes["unstructured"]["of"]


@pytest.mark.parametrize("score", ["magnitude", "wanda", "random"])
def test_the_same_weights_go_in_any_layout_and_recovery_gives_the_same_bits(score):
    workload = tiny_bert()
    rng = np.random.default_rng(1)
    layouts = {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}
    transform = unstructured(score=score, recover="lstsq")
    plain = transform.apply(workload, None)
    laid_out = restore(transform.apply(permute(workload, layouts), None))
    for key, tensor in plain.module.state_dict().items():
        assert torch.equal(tensor, laid_out.module.state_dict()[key])


@pytest.mark.parametrize("sparsity", [0.3, 0.7])
def test_no_tile_is_empty_so_every_net_needs_every_channel(sparsity):
    out = unstructured(sparsity=sparsity, score="wanda").apply(mock(neurons=512).build(), None)
    for nets in build_nets(out, tile_rows=64, tile_cols=64, element_bytes=2).values():
        assert nets.matrix.sum() == nets.matrix.shape[0] * nets.matrix.shape[1]


def test_wanda_weighs_a_weight_by_the_norm_of_its_input():
    workload = tiny_bert(layers=1)
    name = "encoder.layer.0.output.dense"
    seen = []
    hook = workload.module.get_submodule(name).register_forward_pre_hook(lambda _, a: seen.append(a[0]))
    for batch in workload.calibration:
        workload.forward(workload.module, batch)
    hook.remove()
    norms = input_norms(workload, [name])[name]
    expected = torch.cat([a.flatten(0, 1) for a in seen]).double().norm(dim=0)
    torch.testing.assert_close(norms, expected)
    gone = unstructured(score="wanda").weakest(name, workload.module.get_parameter(f"{name}.weight"), norms)
    score = workload.module.get_parameter(f"{name}.weight").abs().double() * norms
    assert (score.masked_fill(~gone, 0).amax(1) <= score.masked_fill(gone, torch.inf).amin(1)).all()


def test_wanda_without_calibration_inputs_says_what_to_use_instead():
    with pytest.raises(ConfigError, match=r"use transform.score=magnitude"):
        unstructured(score="wanda").apply(replace(mock().build(), calibration=()), None)


def test_scores_of_a_layer_that_choose_nothing_are_refused_unless_its_weights_are_zeros():
    weight = torch.randn(6, 8)
    with pytest.raises(
        ConfigError, match=r"layer down: transform.score=wanda gives all 48 scores equal \(0\)"
    ):
        unstructured(score="wanda").weakest("down", weight, torch.zeros(8))
    weight[2, 3] = float("nan")
    with pytest.raises(
        ConfigError, match=r"layer down: transform.score=magnitude gives 1 of 48 scores that are not"
    ):
        unstructured(score="magnitude").weakest("down", weight, None)
    assert unstructured(score="magnitude").weakest("down", torch.zeros(6, 8), None).sum() == 24
