"""Engines: the same function, and only what is live is executed."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from icd.contracts import Site, TensorAxis
from icd.errors import ConfigError
from icd.model.fused_attention import fuse_bert
from icd.pipeline.arms import sliced_layout
from icd.pipeline.checks import relative_error
from icd.runtime.accelerate import compiled_units
from icd.runtime.compact import Compact
from icd.runtime.cut import kept_indices
from icd.runtime.masked import Masked
from icd.runtime.tiles import kept_positions
from icd.transform.channel import Channel, zero_dead
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import mock, tiny_bert, tiny_mamba

FP32 = Precision("fp32", "fail")


def pruned(workload, sparsity=0.5):
    groups = ["neurons", "heads", "vo_dims", "qk_dims", "d_inner", "dt_rank", "d_state"]
    return Channel(sparsity, "magnitude", groups, 0).apply(workload, None)


def gather(workload):
    """``workload`` with the live channels of every site in front."""
    return permute(workload, {s.name: sliced_layout(workload.live_mask(s)) for s in workload.sites})


def tiny_mamba_of_all_kinds():
    return tiny_mamba(sites=["d_inner", "dt_rank", "d_state", "residual"])


@pytest.mark.parametrize(
    "build",
    [
        tiny_bert,
        lambda: tiny_bert(attention="dims"),
        lambda: tiny_bert(kinds=("attention", "neurons", "residual")),
        lambda: mock().build(),
        tiny_mamba,
        tiny_mamba_of_all_kinds,
    ],
    ids=["bert", "bert dims", "bert residual", "mock", "mamba", "mamba of all kinds"],
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
    assert narrow.executed["fused"] == "fuse_attention"
    assert sum(p.numel() for p in narrow.module.parameters()) < sum(
        p.numel() for p in wide.module.parameters()
    )


def test_the_dimensions_of_all_heads_are_cut_together_and_the_scale_stays():
    workload = gather(pruned(tiny_bert(attention="dims")))
    step = Compact(64, 64).prepare(workload, FP32, "cpu")
    attention = step.module.encoder.layer[0].attention
    assert attention.self.qkv.weight.shape == (3 * 4 * 8, 64)
    assert attention.output.dense.weight.shape == (64, 4 * 8)
    assert attention.self.scale == 16**-0.5 and attention.self.qk_width == attention.self.v_width == 8
    assert "padded" not in step.executed
    assert {tuple(w) for n, w in step.executed["sites"].items() if ".head." in n} == {(8, 16)}
    masked = Masked(64, 64).prepare(workload, FP32, "cpu")
    assert relative_error(step.on(workload.probes[0]), masked.on(workload.probes[0])) < 1e-5


@pytest.mark.parametrize("group", ["vo_dims", "qk_dims"])
def test_q_and_k_may_be_narrower_than_v_and_v_than_q_and_k(group):
    workload = Channel(0.5, "magnitude", [group], 0).apply(tiny_bert(attention="dims"), None)
    step = Compact(64, 64).prepare(gather(workload), FP32, "cpu")
    attention = step.module.encoder.layer[1].attention.self
    assert (attention.qk_width, attention.v_width) == ((16, 8) if group == "vo_dims" else (8, 16))
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


def test_heads_are_padded_to_the_widest_and_the_record_counts_it():
    workload = pruned(tiny_bert(attention="dims"))
    layouts = {s.name: sliced_layout(workload.live_mask(s)) for s in workload.sites}
    del layouts["encoder.layer.0.head.2.vo"]  # scattered, so that none of its blocks is dead
    step = Compact(64, 64).prepare(permute(workload, layouts), FP32, "cpu")
    assert step.executed["padded"] == {"sites": 3, "channels": 3 * 8}
    attention = step.module.encoder.layer[0].attention.self
    assert (attention.qk_width, attention.v_width) == (8, 16)
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


def test_the_librarys_own_attention_runs_at_the_cut_width():
    workload = dataclasses.replace(gather(pruned(tiny_bert(attention="dims"))), fuse=None)
    step = Compact(64, 64).prepare(workload, FP32, "cpu")
    assert step.module.encoder.layer[0].attention.self.attention_head_size == 8
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


def test_spans_of_many_sites_on_one_dimension_are_cut_with_their_declared_offsets():
    sites = [Site(str(k), 4, (TensorAxis("w", 0, 4 * k),), "g", "w") for k in (0, 1, 2)]
    keep = {"0": np.array([3]), "1": np.arange(4), "2": np.array([0, 2])}
    tied = [(site.axes[0], site) for site in sites]
    assert kept_indices(tied, keep, 13).tolist() == [3, 4, 5, 6, 7, 8, 10, 12]


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


@pytest.mark.parametrize("build", [tiny_bert, lambda: mock().build()], ids=["bert", "floating inputs"])
def test_bf16_runs_in_bf16_and_stays_close(build):
    workload = pruned(build())
    step = Compact(16, 16).prepare(workload, Precision("bf16", "fail"), "cpu")
    assert step().dtype == torch.bfloat16 and step.executed["dtype"] == "bfloat16"
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 6e-2


def test_a_captured_step_replays_and_answers_what_the_graph_wrote():
    workload = tiny_bert()
    eager = Masked(16, 16).prepare(workload, FP32, "cpu")
    written = torch.zeros(2)
    step = dataclasses.replace(eager, replay=lambda: written.add_(1), output=written)
    assert step().tolist() == [1.0, 1.0] and step().tolist() == [2.0, 2.0]
    assert relative_error(step.on(workload.inputs), eager()) == 0


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
    assert {type(u).__name__ for u in compiled_units(tiny_mamba().module)} == {"MambaLayer", "AddNorm"}
