"""Recovery: the fit is the least-squares one, in any layout, and it brings the outputs back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icd.contracts import ModelCard
from icd.errors import ConfigError
from icd.model.calibration import collect
from icd.report.caveats import caveats
from icd.transform.channel import Channel
from icd.transform.permute import permute, restore
from icd.transform.recover import RIDGE, Moments, decide, refit
from icd.transform.walk import chain
from tests.tiny import mock, tiny_bert


def channel(**changes):
    fields = {"sparsity": 0.5, "score": "wanda", "groups": ["neurons", "heads"], "seed": 0}
    return Channel(**{**fields, "recover": "lstsq", **changes})


def moments_of(linear, *batches):
    moments = Moments.empty(linear)
    for a, y in batches:
        moments.add(a, y)
    return moments


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("pattern", ["columns", "single"])
def test_a_refit_is_numpys_least_squares_on_the_stacked_system(biased, pattern):
    rng = np.random.default_rng(0)
    n, inner, out = 200, 12, 5
    a, y = rng.normal(size=(n, inner)) + 1.0, rng.normal(size=(n, out)) - 2.0
    linear = torch.nn.Linear(inner, out, bias=biased).double().requires_grad_(False)
    keep = rng.random((1 if pattern == "columns" else out, inner)) < 0.5
    linear.weight.mul_(torch.from_numpy(keep))
    before = linear.weight.numpy().copy()
    halves = [(torch.from_numpy(a[i]), torch.from_numpy(y[i])) for i in (slice(0, 90), slice(90, n))]
    missed = refit(linear, moments_of(linear, *halves))
    for row, live in enumerate(before != 0):
        centred = a[:, live] - a[:, live].mean(0) if biased else a[:, live]
        root = np.sqrt(RIDGE * np.mean((centred**2).sum(0)))
        ones = np.ones((n, 1)) if biased else np.zeros((n, 0))
        top = np.hstack([a[:, live], ones])
        bottom = np.hstack([root * np.eye(live.sum()), np.zeros((live.sum(), ones.shape[1]))])
        right = np.concatenate([y[:, row], root * before[row, live]])
        expected = np.linalg.lstsq(np.vstack([top, bottom]), right, rcond=None)[0]
        np.testing.assert_allclose(linear.weight[row, live].numpy(), expected[: live.sum()], atol=1e-10)
        assert (linear.weight[row, ~live] == 0).all()
        if biased:
            np.testing.assert_allclose(float(linear.bias[row]), expected[-1], atol=1e-10)
    assert missed["missed_after"] < missed["missed_before"]


def test_a_later_layer_is_fitted_on_what_the_recovered_model_gives_it():
    dense = tiny_bert(layers=3)
    pruned = channel().apply(dense, collect(dense))
    name = "encoder.layer.2.output.dense"
    row = next(r for r in pruned.notes["recover"]["consumers"] if r["module"] == name)
    seen = {"given": [], "dense": [], "ours": []}

    def keep(key, module, before=False):
        hook = (lambda _, a: seen[key].append(a[0])) if before else (lambda _, a, y: seen[key].append(y))
        return module.register_forward_pre_hook(hook) if before else module.register_forward_hook(hook)

    hooks = [
        keep("given", pruned.module.encoder.layer[2], before=True),
        keep("ours", pruned.module.get_submodule(name)),
        keep("dense", dense.module.get_submodule(name)),
    ]
    for batch in dense.calibration:
        pruned.forward(pruned.module, batch)
        dense.module.encoder.layer[2](seen["given"][-1])
    for hook in hooks:
        hook.remove()
    ours, wanted = (torch.cat(seen[key]).flatten(0, 1).double() for key in ("ours", "dense"))
    missed = (ours - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    assert row["missed_after"] == pytest.approx(float(missed), rel=1e-3)


def test_the_ridge_is_a_hundredth_of_the_inputs_variance():
    assert RIDGE == 0.01


def test_the_same_values_come_out_bit_for_bit_in_any_layout_and_on_a_second_run():
    workload = tiny_bert()
    activations = collect(workload)
    rng = np.random.default_rng(1)
    layouts = {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}
    plain = channel().apply(workload, activations)
    again = channel().apply(workload, activations)
    laid_out = channel().apply(permute(workload, layouts), activations)
    assert {k: v.tolist() for k, v in laid_out.order.items()} == {k: v.tolist() for k, v in layouts.items()}
    back = restore(laid_out).module.state_dict()
    for key, tensor in plain.module.state_dict().items():
        assert torch.equal(tensor, back[key]) and torch.equal(tensor, again.module.state_dict()[key])


def test_dead_channels_stay_exactly_zero_and_the_dense_model_untouched():
    workload = tiny_bert()
    before = {k: v.clone() for k, v in workload.module.state_dict().items()}
    out = channel().apply(workload, collect(workload))
    for site in workload.sites:
        dead = np.flatnonzero(~out.live_mask(site))
        for axis in site.axes:
            inner = (dead[:, None] * axis.repeat + np.arange(axis.repeat)).ravel()
            p = out.module.get_parameter(axis.parameter)
            assert (p.index_select(axis.dim, torch.from_numpy(inner)) == 0).all()
    assert all(torch.equal(v, workload.module.state_dict()[k]) for k, v in before.items())


@pytest.mark.parametrize("groups", [["neurons"], ["heads"], ["neurons", "heads"]])
def test_recovery_brings_unseen_outputs_closer_to_the_dense_ones(groups):
    workload = tiny_bert()
    activations = collect(workload)
    reference = workload.forward(workload.module, workload.inputs)

    def cosine(recover):
        out = channel(groups=groups, recover=recover).apply(workload, activations)
        y = out.forward(out.module, out.inputs)
        return float(torch.nn.functional.cosine_similarity(y, reference, dim=-1).mean())

    assert cosine("lstsq") > cosine("none")


def test_every_consumer_of_a_pruned_site_is_refitted_in_the_order_of_the_forward():
    workload = tiny_bert()
    note = channel().apply(workload, collect(workload)).notes["recover"]
    parts = ("attention.output.dense", "output.dense")
    assert [r["module"] for r in note["consumers"]] == [
        f"encoder.layer.{i}.{part}" for i in range(2) for part in parts
    ]
    assert all(r["tokens"] == 64 and r["missed_after"] < r["missed_before"] for r in note["consumers"])
    some = channel(groups=["neurons"]).apply(workload, collect(workload)).notes["recover"]["consumers"]
    assert all("attention" not in r["module"] for r in some) and len(some) == 2


def test_a_chain_of_layers_is_walked_and_anything_else_runs_whole(monkeypatch):
    workload = tiny_bert()
    assert chain(workload) == ["encoder.layer.0", "encoder.layer.1"]
    assert chain(mock().build()) == ["layers.0", "layers.1"]
    twice = workload.with_module(workload.module, forward=lambda m, x: workload.forward(m, x) + other(m, x))
    other = workload.forward
    assert chain(twice) == []


def test_walking_the_whole_model_gives_nearly_the_same_first_layer(monkeypatch):
    workload = tiny_bert(layers=1)
    activations = collect(workload)
    walked = channel(groups=["neurons"]).apply(workload, activations)
    monkeypatch.setattr("icd.transform.walk.chain", lambda _: [])
    whole = channel(groups=["neurons"]).apply(workload, activations)
    for key, tensor in walked.module.state_dict().items():
        torch.testing.assert_close(tensor, whole.module.state_dict()[key], rtol=1e-4, atol=1e-5)


def test_auto_recovers_where_trained_weights_and_calibration_are_and_says_why_not_elsewhere():
    workload = tiny_bert()
    trained = replace(workload, card=ModelCard("tiny", "bert", 1, "pretrained", "here"))
    assert decide("auto", trained)[0] and decide("lstsq", workload)[0]
    assert decide("auto", workload) == (False, "transform.recover=auto: weights are random, not trained")
    assert decide("none", trained) == (False, "transform.recover=none")
    assert "no calibration inputs" in decide("auto", replace(trained, calibration=()))[1]


def test_lstsq_without_calibration_inputs_is_refused_with_what_to_use_instead():
    workload = replace(tiny_bert(), calibration=())
    with pytest.raises(ConfigError, match=r"needs calibration inputs.*use transform.recover=none"):
        channel(score="magnitude").apply(workload, None)


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_with_fewer_tokens_than_live_inputs_auto_refits_nothing_and_lstsq_is_called_underdetermined(sparsity):
    card = ModelCard("tiny", "bert", 1, "pretrained", "here")
    workload = replace(tiny_bert(), card=card)  # 64 tokens; 128 neurons of 256 are live at 0.5, 26 at 0.9
    few = sparsity == 0.5
    auto, asked = (
        channel(sparsity=sparsity, groups=["neurons"], score="magnitude", recover=how).apply(workload, None)
        for how in ("auto", "lstsq")
    )
    note, done = auto.notes["recover"], asked.notes["recover"]
    said = "64 calibration tokens are fewer than the 128 live inputs of encoder.layer.0.output.dense"
    assert (note["method"], said in note["reason"]) == (("none", True) if few else ("lstsq", False))
    assert done["method"] == "lstsq" and (done.get("underdetermined", False), said in done["reason"]) == (
        few,
        few,
    )
    assert any("underdetermined" in c for c in caveats({"transform": asked.notes}, {})) == few
    same = torch.equal(*(w.module.encoder.layer[0].output.dense.weight for w in (auto, asked)))
    assert same != few
