"""Engines: the same function, and only what is live is executed."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from icd.errors import ConfigError
from icd.model.fused_attention import fuse_bert
from icd.pipeline.arms import sliced_layout
from icd.pipeline.checks import relative_error
from icd.runtime.accelerate import compiled_units
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.runtime.tiles import kept_positions
from icd.transform.channel import Channel, zero_dead
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import mock, tiny_bert, tiny_mamba

FP32 = Precision("fp32", "fail")


def pruned(workload, sparsity=0.5):
    return Channel(sparsity, "magnitude", ["neurons", "heads", "d_inner"], 0).apply(workload, None)


@pytest.mark.parametrize(
    "build", [tiny_bert, lambda: mock().build(), tiny_mamba], ids=["bert", "mock", "mamba"]
)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.95])
def test_compact_computes_what_masked_computes_in_any_layout(build, sparsity):
    workload = pruned(build(), sparsity)
    rng = np.random.default_rng(0)
    layouts = [
        {},
        {s.name: sliced_layout(workload.live_mask(s)) for s in workload.sites},
        {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites},
    ]
    expected = Masked(16, 16).prepare(workload, FP32, "cpu")()
    for layout in layouts:
        step = Compact(16, 16).prepare(permute(workload, layout), FP32, "cpu")
        assert relative_error(step(), expected) < 1e-5


def test_slicing_halves_every_layer_and_the_scattered_order_does_not():
    workload = pruned(tiny_bert())
    gathered = permute(workload, {s.name: sliced_layout(workload.live_mask(s)) for s in workload.sites})
    wide = Compact(16, 16).prepare(workload, FP32, "cpu")
    narrow = Compact(16, 16).prepare(gathered, FP32, "cpu")
    assert wide.executed["sites"]["encoder.layer.0.neurons"] == [256, 256]
    assert narrow.executed["sites"]["encoder.layer.0.neurons"] == [128, 256]
    layer = narrow.module.encoder.layer[0]
    assert layer.intermediate.dense.weight.shape == (128, 64) and layer.output.dense.weight.shape == (64, 128)
    assert layer.attention.self.qkv.weight.shape == (96, 64)
    assert narrow.executed["fused"] == "fuse_bert"
    assert sum(p.numel() for p in narrow.module.parameters()) < sum(
        p.numel() for p in wide.module.parameters()
    )


def test_mamba_layers_cut_to_different_widths_run_with_everything_that_counts_them():
    workload = tiny_mamba()
    first, second = workload.sites
    live = {first.name: np.arange(256) % 4 == 0, second.name: np.arange(256) < 160}
    for site in workload.sites:
        zero_dead(workload.module, site, live[site.name])
    workload = dataclasses.replace(workload, live=live)
    gathered = permute(workload, {s.name: sliced_layout(live[s.name]) for s in workload.sites})
    step = Compact(16, 16).prepare(gathered, FP32, "cpu")
    assert step.executed["sites"] == {first.name: [64, 256], second.name: [160, 256]}
    assert step.executed["scan"] == "chunked"
    for layer, width in zip(step.module.layers, (64, 160), strict=True):
        mixer = layer.mixer
        assert mixer.in_proj.weight.shape == (2 * width, 128) and mixer.conv1d.weight.shape == (width, 1, 4)
        assert mixer.x_proj.weight.shape == (40, width) and mixer.dt_proj.weight.shape == (width, 8)
        assert mixer.A_log.shape == (width, 16) and mixer.out_proj.weight.shape == (128, width)
        assert mixer.intermediate_size == mixer.conv1d.groups == mixer.conv1d.in_channels == width
        assert mixer.in_proj.out_features == 2 * width
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


def test_a_step_runs_other_inputs_through_the_same_module():
    workload = pruned(tiny_bert())
    step = Compact(16, 16).prepare(workload, FP32, "cpu")
    probe = workload.probes[0]
    assert relative_error(step.on(probe), workload.forward(workload.module, probe)) < 1e-5


def test_bf16_runs_in_bf16_and_stays_close():
    workload = pruned(tiny_bert())
    step = Compact(16, 16).prepare(workload, Precision("bf16", "fail"), "cpu")
    assert step().dtype == torch.bfloat16 and step.executed["dtype"] == "bfloat16"
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 6e-2


@pytest.mark.parametrize(
    ("live", "block", "kept"),
    [
        ([1, 0, 0, 0], 2, [0, 1]),
        ([0, 0, 0, 1, 0], 2, [2, 3]),
        ([0, 0, 0, 0, 1], 2, [4]),
        ([0, 0, 0, 0], 2, [0, 1]),
        ([1, 1, 1, 1], 4, [0, 1, 2, 3]),
    ],
)
def test_a_tile_stays_when_one_of_its_channels_lives_and_one_always_stays(live, block, kept):
    assert kept_positions(np.array(live, bool), block).tolist() == kept


def test_a_tile_of_an_odd_size_is_refused():
    with pytest.raises(ConfigError, match="tile_cols=63"):
        Compact(64, 63)


def test_a_fused_attention_computes_the_librarys_with_and_without_a_mask():
    workload = tiny_bert()
    module = copy.deepcopy(workload.module)
    fuse_bert(module)
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[0, 9:] = 0
    for inputs in (workload.inputs, {**workload.inputs, "attention_mask": mask}):
        expected = workload.module(**inputs).last_hidden_state
        assert relative_error(workload.forward(module, inputs), expected) < 1e-5


def test_layers_and_what_lies_beside_them_are_compiled_once_for_a_shape():
    module = tiny_bert(layers=3).module
    units = compiled_units(module)
    assert [type(u).__name__ for u in units] == ["BertEmbeddings", *["BertLayer"] * 3]
    assert compiled_units(torch.nn.Linear(2, 2))[0].in_features == 2
