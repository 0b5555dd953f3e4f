"""Every site of every family: permuting it keeps the function, and undoing it restores every bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from icd.errors import VerificationError
from icd.pipeline.checks import equivalence
from icd.transform.permute import permute, relative, restore
from tests.tiny import mock, tiny_bert, tiny_mamba, trace

FAMILIES = {
    "mock": mock().build(),
    "bert": tiny_bert(),
    "bert dims": tiny_bert(attention="dims"),
    "bert residual": tiny_bert(kinds=("residual", "attention")),
    "mamba": tiny_mamba(),
    "mamba all": tiny_mamba(sites=["d_inner", "dt_rank", "d_state", "residual"]),
    "trace": trace().build(),
}


def random_layouts(workload, seed):
    rng = np.random.default_rng(seed)
    return {site.name: rng.permutation(site.size).astype(np.int32) for site in workload.sites}


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_random_layouts_of_all_sites_keep_the_function_and_are_undone_bit_for_bit(family, seed):
    workload = FAMILIES[family]
    proof = equivalence(workload, {"random": random_layouts(workload, seed)})
    assert proof["ok"] and proof["max_rel_err"] <= 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_a_site_with_any_one_axis_left_out_is_caught(family):
    workload = FAMILIES[family]
    for site in workload.sites:
        for k in range(len(site.axes)):
            if site.axes[k].parameter.endswith("key.bias"):
                continue  # softmax takes away what is the same for all keys: it has no effect at all
            broken = dataclasses.replace(site, axes=site.axes[:k] + site.axes[k + 1 :])
            sites = tuple(broken if s is site else s for s in workload.sites)
            bad = dataclasses.replace(workload, sites=sites)
            swap = np.roll(np.arange(site.size), 1).astype(np.int32)
            with pytest.raises(VerificationError, match="changes the model's function"):
                equivalence(bad, {"swap": {site.name: swap}})


@pytest.mark.parametrize("part", ["query", "key"])
def test_permuting_the_dimensions_of_q_without_k_is_caught(part):
    workload = FAMILIES["bert dims"]
    site = next(s for s in workload.sites if s.group == "qk_dims")
    alone = dataclasses.replace(site, axes=tuple(a for a in site.axes if f".{part}." in a.parameter))
    bad = dataclasses.replace(workload, sites=(alone,))
    with pytest.raises(VerificationError, match="changes the model's function"):
        equivalence(bad, {"swap": {site.name: np.roll(np.arange(site.size), 1)}})


def test_a_permuted_residual_orders_the_output_and_the_forward_undoes_it():
    workload = FAMILIES["bert residual"]
    layouts = random_layouts(workload, 4)
    permuted = permute(permute(workload, random_layouts(workload, 5)), layouts)
    plain, expected = workload.forward(permuted.module, workload.inputs), layouts["residual"]
    ours = permuted.forward(permuted.module, workload.inputs)
    assert torch.equal(plain, ours[..., expected])
    assert restore(permuted).forward is workload.forward


def test_layouts_are_absolute_whatever_came_before():
    workload = FAMILIES["bert"]
    first, second = random_layouts(workload, 1), random_layouts(workload, 2)
    twice, once = permute(permute(workload, first), second), permute(workload, second)
    for key, tensor in once.module.state_dict().items():
        assert torch.equal(tensor, twice.module.state_dict()[key])
    assert torch.equal(
        restore(twice).module.state_dict()["encoder.layer.0.output.dense.weight"],
        workload.module.state_dict()["encoder.layer.0.output.dense.weight"],
    )


def test_permuting_never_touches_the_workload_it_was_given():
    workload = FAMILIES["mock"]
    before = {k: v.clone() for k, v in workload.module.state_dict().items()}
    permute(workload, random_layouts(workload, 3))
    assert all(torch.equal(v, before[k]) for k, v in workload.module.state_dict().items())


def test_the_relative_order_leads_from_one_layout_to_the_other():
    rng = np.random.default_rng(0)
    a, b = rng.permutation(9), rng.permutation(9)
    assert np.array_equal(a[relative(a, b)], b)


def test_bert_large_declares_every_head_and_neuron_of_its_shape():
    from transformers import BertConfig

    from icd.model.bert_large import BertLarge
    from icd.model.encoder_sites import bert_sites

    sites = bert_sites(BertConfig(**BertLarge.shape))
    assert [(s.group, s.size, s.repeat) for s in sites] == [("heads", 16, 64), ("neurons", 4096, 1)] * 24


def test_the_dimensions_of_every_head_are_sites_of_their_own_and_cut_alike():
    sites = FAMILIES["bert dims"].sites
    dims = [s for s in sites if s.name.startswith("encoder.layer.1.head.")]
    assert [(s.group, s.size) for s in dims] == [("vo_dims", 16), ("qk_dims", 16)] * 4
    assert [s.axes[0].offset for s in dims] == [0, 0, 16, 16, 32, 32, 48, 48]
    assert {s.peers for s in dims} == {"encoder.layer.1.vo_dims", "encoder.layer.1.qk_dims"}
    assert not any(s.group == "heads" for s in sites)


def test_a_block_is_a_tiles_columns_or_a_sites_grain():
    heads, neurons = tiny_bert().sites[:2]
    dims = FAMILIES["bert dims"].sites[0]
    assert (heads.block(64), heads.block(8), neurons.block(64), dims.block(64)) == (4, 1, 64, 8)
