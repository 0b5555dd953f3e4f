"""Mamba: the library's function, a scan of choice, weights and memory as said."""

import copy
import dataclasses

import numpy as np
import pytest
import torch

from icd.errors import ConfigError, MissingResource
from icd.model.calibration import collect
from icd.model.mamba import Mamba, Shape
from icd.model.mamba_module import MambaStack, fuse_mamba
from icd.model.mamba_tiny import MambaTiny
from icd.pipeline.checks import engine_check, equivalence, relative_error
from icd.runtime.compact import Compact
from icd.transform.channel import Channel
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import tiny_mamba

FIELDS = {
    "repo": "state-spaces/mamba-130m-hf",
    "weights": "random",
    "hub_timeout_s": 1.0,
    "scan": "auto",
    "default_batch_size": 2,
    "default_seq_len": 256,
    "calibration_tokens": 1,
    "probe_sentences": 1,
    "batch_size": None,
    "seq_len": None,
    "seed": 0,
}


def library_model(shape, **changes):
    """transformers' own model, every parameter moved off its structured start."""
    from transformers import MambaConfig, MambaModel

    torch.manual_seed(0)
    model = MambaModel(MambaConfig(**dataclasses.asdict(shape), **changes)).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.mark.parametrize("scan", ["reference", "chunked"])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("residual_in_fp32", [False, True])
def test_the_forward_is_the_library_s(scan, use_bias, residual_in_fp32):
    model = library_model(MambaTiny.shape, use_bias=use_bias, residual_in_fp32=residual_in_fp32)
    ids = torch.randint(0, 1000, (2, 21))
    expected = copy.deepcopy(model)(ids, use_cache=False).last_hidden_state
    assert relative_error(MambaStack(model, scan)(ids), expected) < 1e-5


def test_parameters_keep_the_library_s_names():
    model = library_model(MambaTiny.shape)
    names = set(model.state_dict())
    assert set(MambaStack(model, "auto").state_dict()) == names


def test_sites_take_the_biases_of_projections_along():
    from icd.model.mamba_sites import mamba_sites

    module = MambaStack(library_model(MambaTiny.shape, use_bias=True), "auto")
    workload = dataclasses.replace(tiny_mamba(), module=module, sites=mamba_sites(module))
    rng = np.random.default_rng(0)
    layouts = {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}
    assert len(workload.sites[0].axes) == 12
    assert equivalence(workload, {"random": layouts})["max_rel_err"] <= 1e-10


def test_the_equivalence_check_computes_in_double_although_the_residual_is_float32():
    workload = tiny_mamba()
    assert workload.module.residual_in_fp32
    module = copy.deepcopy(workload.module).double()
    assert workload.forward(module, workload.inputs).dtype == torch.float64


def test_a_layer_compiles_as_one_graph():
    layer = tiny_mamba().module.layers[0]
    x, out = torch.randn(2, 2, 12, 128)
    compiled = torch.compile(layer, fullgraph=True, dynamic=False, backend="aot_eager")
    with torch.inference_mode():
        for found, expected in zip(compiled(x, out), layer(x, out), strict=True):
            assert relative_error(found, expected) < 1e-5


@pytest.mark.parametrize("use_bias", [False, True])
def test_fusing_moves_the_step_sizes_bias_into_the_scan_and_changes_nothing(use_bias):
    module = MambaStack(library_model(MambaTiny.shape, use_bias=use_bias), "auto")
    ids = torch.randint(0, 1000, (2, 21))
    expected = module(ids)
    biases = [layer.mixer.dt_proj.bias for layer in module.layers]
    fuse_mamba(module)
    for layer, bias in zip(module.layers, biases, strict=True):
        assert layer.mixer.dt_proj.bias is None and layer.mixer.dt_bias is bias
    assert relative_error(module(ids), expected) < 1e-5
    for layer in module.layers:
        layer.mixer.dt_bias = None
    assert relative_error(module(ids), expected) > 1e-3


def test_a_step_is_fused_and_the_workload_s_module_is_not():
    workload = tiny_mamba()
    step = Compact(16, 16).prepare(workload, Precision("fp32", "fail"), "cpu")
    assert step.executed["fused"] == "fuse_mamba"
    assert step.module.layers[0].mixer.dt_proj.bias is None
    assert workload.module.layers[0].mixer.dt_proj.bias is not None


def test_what_lies_behind_a_sequence_s_end_does_not_change_it():
    workload = tiny_mamba()
    ids = workload.inputs["input_ids"]
    padded = torch.cat([ids, torch.zeros(2, 5, dtype=torch.long)], 1)
    out = workload.forward(workload.module, {"input_ids": padded})[:, : ids.shape[1]]
    assert relative_error(out, workload.forward(workload.module, workload.inputs)) < 1e-6


def test_bf16_stays_close():
    workload = tiny_mamba()
    step = Compact(16, 16).prepare(workload, Precision("bf16", "fail"), "cpu")
    assert step().dtype == torch.bfloat16
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 6e-2


def test_the_norm_is_taken_in_float32_whatever_the_weights_are_in():
    from types import SimpleNamespace

    from icd.model.mamba_module import AddNorm

    torch.manual_seed(0)
    x, weight = torch.randn(2, 3, 512).bfloat16(), torch.ones(512).bfloat16()
    norm = AddNorm(SimpleNamespace(weight=weight, variance_epsilon=1e-5))
    total, normed = norm(x, torch.zeros_like(x))
    exact = x.double() * torch.rsqrt(x.double().square().mean(-1, keepdim=True) + 1e-5)
    assert torch.equal(total, x) and normed.dtype == torch.bfloat16
    assert torch.equal(normed, exact.bfloat16())  # rounded once, at the end


def test_activations_are_those_that_enter_the_output_projection():
    activations = collect(tiny_mamba())
    assert activations.tokens == 1024
    assert activations.values["layers.0.d_inner"].shape == (1024, 256)


def test_the_reference_scan_is_tagged_and_every_scan_is_named_in_the_record():
    chosen, default = tiny_mamba(scan="reference"), tiny_mamba()
    assert chosen.card.tags == ("reference-scan",) and default.card.tags == ()
    assert chosen.choices("cpu") == {"scan": "reference", "conv": "plain"}
    assert default.choices("cpu") == {"scan": "chunked", "conv": "plain"}
    assert default.choices("cuda:0") == {"scan": "triton", "conv": "triton"}
    stood_in = tiny_mamba(scan="triton").choices("cpu")
    assert (stood_in["scan"], stood_in["scan_asked"]) == ("chunked", "triton")
    assert stood_in["scan_reason"] == "triton runs on CUDA alone, and this is cpu"
    assert "scan_asked" not in tiny_mamba(scan="triton").choices("cuda:0")
    with pytest.raises(ConfigError, match=r"model\.scan='loop'"):
        tiny_mamba(scan="loop")


@pytest.mark.parametrize("shape", [MambaTiny.shape, Shape(), Shape(hidden_size=40, expand=3)])
def test_the_parameter_count_that_memory_is_estimated_from_is_exact(shape):
    from transformers import MambaConfig, MambaModel

    with torch.device("meta"):
        model = MambaModel(MambaConfig(**dataclasses.asdict(shape)))
    assert sum(p.numel() for p in model.parameters()) == shape.params


def test_trained_weights_are_read_from_a_directory_also_in_shards(tmp_path):
    model = library_model(MambaTiny.shape)
    for name, size in (("one", "5GB"), ("shards", "1MB")):
        model.save_pretrained(tmp_path / name, max_shard_size=size)
        save_tokenizer(tmp_path / name)
    assert (tmp_path / "shards" / "model.safetensors.index.json").is_file()
    ids = torch.randint(0, 1000, (2, 9))
    expected = model(ids, use_cache=False).last_hidden_state
    for name in ("one", "shards"):
        given = {**FIELDS, "weights": str(tmp_path / name), "seq_len": 16}
        workload = MambaTiny(name="mamba_tiny", **given).resolve().build()
        assert workload.card.weights == "pretrained" and len(workload.card.sha256) == 64
        assert relative_error(workload.forward(workload.module, {"input_ids": ids}), expected) < 1e-5
        assert len(workload.probes) == 1 and "attention_mask" in workload.probes[0]


def test_weights_that_nobody_published_are_refused_when_asked_for():
    fields = {**FIELDS, "repo": None, "name": "mamba_tiny"}
    with pytest.raises(MissingResource, match="no trained weights of this shape are published"):
        MambaTiny(**{**fields, "weights": "pretrained"}).resolve()
    assert MambaTiny(**{**fields, "weights": "auto"}).resolve().weights == "random"


def save_tokenizer(folder):
    """A tokenizer of words without a padding token, as the published one has none."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "<|endoftext|>": 1, "the": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="[UNK]", eos_token="<|endoftext|>"
    ).save_pretrained(folder)


@pytest.mark.slow
def test_mamba_at_full_shape_is_equivalent_and_runs_as_checked():
    workload = Mamba(name="mamba", **{**FIELDS, "batch_size": 1, "seq_len": 64}).build()
    assert len(workload.sites) == 24 and workload.sites[0].size == 1536
    full_shape_check(workload)


@pytest.mark.slow
def test_bert_at_full_shape_is_equivalent_and_runs_as_checked():
    from icd.model.bert import Bert

    fields = {key: value for key, value in FIELDS.items() if key != "scan"}
    fields |= {"repo": "google-bert/bert-base-uncased", "batch_size": 1, "seq_len": 64}
    workload = Bert(name="bert", extend_positions=False, **fields).build()
    assert len(workload.sites) == 24 and workload.card.params > 108e6
    full_shape_check(workload)


def full_shape_check(workload):
    bf16 = Compact(64, 64).prepare(workload, Precision("bf16", "fail"), "cpu")
    assert relative_error(bf16(), workload.forward(workload.module, workload.inputs)) < 3e-2
    rng = np.random.default_rng(0)
    layouts = {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}
    assert equivalence(workload, {"random": layouts})["max_rel_err"] <= 1e-10
    pruned = Channel(0.5, "magnitude", ["neurons", "heads", "d_inner"], 0).apply(
        permute(workload, layouts), None
    )
    live = {s.name: np.argsort(~pruned.live_mask(s), kind="stable").astype(np.int32) for s in workload.sites}
    gathered, spec = permute(pruned, live), Precision("fp32", "fail")
    step = Compact(64, 64).prepare(gathered, spec, "cpu")
    assert all(kept <= -(-size // 2 // 64) * 64 for kept, size in step.executed["sites"].values())
    assert engine_check("iterative", step, gathered, workload.inputs, spec.tolerance("cpu"))["ok"]
