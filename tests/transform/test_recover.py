"""Recovery: the fit is the least-squares one, in any layout, and it brings the outputs back."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icd.contracts import ModelCard, Site, TensorAxis, Workload
from icd.errors import ConfigError
from icd.model.calibration import collect
from icd.report.caveats import caveats
from icd.transform.channel import Channel
from icd.transform.evidence import changed_consumers
from icd.transform.moments import Moments
from icd.transform.permute import permute, restore
from icd.transform.recover import RIDGE, decide, refit, solve
from icd.transform.walk import chain
from tests import shapes
from tests.tiny import mock, tiny_bert


def channel(**changes):
    fields = {"sparsity": 0.5, "score": "wanda", "groups": ["neurons", "heads"], "seed": 0}
    return Channel(**{**fields, "recover": "lstsq", **changes})


def taught(batches=24, **sites):
    """A tiny BERT with calibration enough to refit on: of 48 sequences of 16 tokens nine are held out."""
    drawn = (torch.Generator().manual_seed(10 + k) for k in range(batches))
    inputs = tuple({"input_ids": torch.randint(0, 97, (2, 16), generator=g)} for g in drawn)
    return replace(tiny_bert(**sites), calibration=inputs)


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
    weight, bias = solve(linear, moments_of(linear, *halves))
    for row, live in enumerate(before != 0):
        centred = a[:, live] - a[:, live].mean(0) if biased else a[:, live]
        root = np.sqrt(RIDGE * np.mean((centred**2).sum(0)))
        ones = np.ones((n, 1)) if biased else np.zeros((n, 0))
        top = np.hstack([a[:, live], ones])
        bottom = np.hstack([root * np.eye(live.sum()), np.zeros((live.sum(), ones.shape[1]))])
        right = np.concatenate([y[:, row], root * before[row, live]])
        expected = np.linalg.lstsq(np.vstack([top, bottom]), right, rcond=None)[0]
        np.testing.assert_allclose(weight[row, live].numpy(), expected[: live.sum()], atol=1e-10)
        assert (weight[row, ~live] == 0).all()
        if biased:
            np.testing.assert_allclose(float(bias[row]), expected[-1], atol=1e-10)
    assert biased or bias is None


def test_a_later_layer_is_fitted_on_what_the_recovered_model_gives_it():
    dense = taught(layers=3)
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
    ours, wanted = (torch.cat(seen[key])[4::5].flatten(0, 1).double() for key in ("ours", "dense"))
    missed = (ours - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    assert row["kept"] and (row["tokens"], row["held_out"]) == (39 * 16, 9 * 16)
    assert row["missed_after"] == pytest.approx(float(missed), rel=1e-3)


def test_the_ridge_is_a_hundredth_of_the_inputs_variance():
    assert RIDGE == 0.01


def test_the_same_values_come_out_bit_for_bit_in_any_layout_and_on_a_second_run():
    workload = taught()
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
    workload = taught()
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
    workload = taught()
    activations = collect(workload)
    reference = workload.forward(workload.module, workload.inputs)

    def cosine(recover):
        out = channel(groups=groups, recover=recover).apply(workload, activations)
        y = out.forward(out.module, out.inputs)
        return float(torch.nn.functional.cosine_similarity(y, reference, dim=-1).mean())

    assert cosine("lstsq") > cosine("none")


def test_every_consumer_of_a_pruned_site_is_refitted_in_the_order_of_the_forward():
    workload = taught()
    note = channel().apply(workload, collect(workload)).notes["recover"]
    parts = ("attention.output.dense", "output.dense")
    assert [r["module"] for r in note["consumers"]] == [
        f"encoder.layer.{i}.{part}" for i in range(2) for part in parts
    ]
    assert all(r["tokens"] == 39 * 16 and r["kept"] for r in note["consumers"])
    assert note["outputs"]["missed_after"] < note["outputs"]["missed_before"]
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
    workload = taught(layers=1)
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


@pytest.mark.parametrize("how", ["auto", "lstsq"])
@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_with_fewer_tokens_to_fit_on_than_live_inputs_no_refit_is_kept(how, sparsity):
    card = ModelCard("tiny", "bert", 1, "pretrained", "here")
    workload = replace(tiny_bert(), card=card)  # 64 tokens, 12 held out; of 256 neurons 128 or 26 are live
    plain = channel(sparsity=sparsity, groups=["neurons"], score="magnitude", recover="none")
    given = replace(plain, recover=how).apply(workload, None)
    note = given.notes["recover"]
    reasons = [row.get("reason", "") for row in note["consumers"]]
    said = (
        "52 calibration tokens to fit on are fewer than the 128 live inputs of encoder.layer.0.output.dense"
    )
    assert (reasons[0] == said) == (sparsity == 0.5)
    if sparsity == 0.5:
        assert note["method"] == "none" and said in note["reason"] and how in note["reason"]
        assert not any("missed_after" in row for row in note["consumers"])
        unrecovered = plain.apply(workload, None).module.state_dict()
        assert all(torch.equal(v, unrecovered[k]) for k, v in given.module.state_dict().items())
        told = [c for c in caveats({"transform": given.notes}, {}) if "Recovery kept 0 of 2 refits" in c]
        assert len(told) == 1 and said in told[0]


def consumer_of(tokens, seed, inner=24, live=12):
    """A linear layer pruned to ``live`` of ``inner`` noisy, correlated inputs, and moments of its tokens."""
    rng = np.random.default_rng(seed)
    linear = torch.nn.Linear(inner, 4).double().requires_grad_(False)
    linear.weight.data = torch.from_numpy(rng.normal(size=(4, inner)))
    mix = rng.normal(size=(inner, inner))

    def draw(n):
        a = torch.from_numpy(rng.normal(size=(n, inner)) @ mix)
        return a, linear(a) + 8 * torch.from_numpy(rng.normal(size=(n, 4)))

    found = draw(tokens), draw(2000)
    linear.weight[:, live:] = 0.0
    return linear, [moments_of(linear, pair) for pair in found], found


@pytest.mark.parametrize("tokens", [12, 14, 4000])
def test_a_refit_is_kept_exactly_where_it_is_better_on_tokens_that_it_has_not_seen(tokens):
    for seed in range(6):
        linear, (fitted, held), (_, (a, y)) = consumer_of(tokens, seed)
        before, after = linear.weight.clone(), solve(linear, fitted)
        row = refit("layer", linear, fitted, held)

        def missed(weight, bias, a=a, y=y):
            return float((a @ weight.T + bias - y).square().sum() / (y - y.mean(0)).square().sum())

        own = torch.linalg.lstsq(torch.cat([a, torch.ones(len(a), 1)], 1).double(), y.double()).solution
        assert missed(own[:-1].T, own[-1]) < row["missed_before"]  # a layer that saw those tokens is better
        assert row["missed_after"] == pytest.approx(missed(*after), rel=1e-9)
        assert row["kept"] == (row["missed_after"] < row["missed_before"])
        assert torch.equal(linear.weight, after[0] if row["kept"] else before)
        assert ("would miss more" in row.get("reason", "")) != row["kept"]
        assert row["kept"] or tokens < 4000


def test_a_consumer_that_is_no_linear_layer_is_left_alone_by_auto_and_refused_by_lstsq():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = torch.nn.Linear(8, 40), torch.nn.Conv1d(40, 8, 1)

        def forward(self, x):
            return self.down(torch.relu(self.up(x)).transpose(1, 2)).transpose(1, 2)

    axes = (TensorAxis("up.weight", 0), TensorAxis("up.bias", 0), TensorAxis("down.weight", 1))
    workload = own_model(Net(), Site("n", 40, axes, "neurons", "down"))
    reason = "down is a Conv1d, and linear layers alone are refitted"
    plain = channel(score="magnitude", recover="auto").apply(workload, None)
    note = plain.notes["recover"]
    assert note["method"] == "none" and note["reason"] == (
        f"transform.recover=auto: no refit was kept; {reason}"
    )
    with pytest.raises(ConfigError, match=rf"^transform.recover=lstsq: {reason}"):
        channel(score="magnitude").apply(workload, None)


def test_a_consumer_that_is_never_called_is_left_alone_by_auto_and_refused_by_lstsq():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.down = torch.nn.Linear(8, 40), torch.nn.Linear(40, 8)

        def forward(self, x):
            return torch.nn.functional.linear(torch.relu(self.up(x)), self.down.weight, self.down.bias)

    axes = (TensorAxis("up.weight", 0), TensorAxis("up.bias", 0), TensorAxis("down.weight", 1))
    workload = own_model(Net(), Site("n", 40, axes, "neurons", "down"))
    note = channel(score="magnitude", recover="auto").apply(workload, None).notes["recover"]
    assert note["method"] == "none" and "the forward never calls down" in note["reason"]
    with pytest.raises(ConfigError, match=r"^transform.recover=lstsq: the forward never calls down"):
        channel(score="magnitude").apply(workload, None)


def own_model(module, *sites, calibration=8, shape=(4, 12, 8)):
    """A workload of a module that takes ``x``, with weights that count as trained."""
    torch.manual_seed(0)
    module.eval().requires_grad_(False)
    for parameter in module.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    batches = tuple({"x": torch.randn(shape)} for _ in range(calibration))
    return Workload(
        module=module,
        forward=lambda module, inputs: module(**inputs),
        inputs=batches[0],
        sites=sites,
        card=ModelCard("own", "own", 1, "pretrained", "here"),
        calibration=batches,
    )


def test_refits_that_help_their_layers_and_harm_the_outputs_are_taken_back(monkeypatch):
    workload = taught()
    judged = {"missed_before": 0.1, "missed_after": 0.2, "kept": False}
    monkeypatch.setattr("icd.transform.recover.outputs_judged", lambda *_: judged)
    note, plain = (channel(recover=how, score="magnitude").apply(workload, None) for how in ("lstsq", "none"))
    found = note.notes["recover"]
    assert found["method"] == "none" and not any(row["kept"] for row in found["consumers"])
    assert "outputs would miss more" in found["reason"]
    weights = plain.module.state_dict()
    assert all(torch.equal(v, weights[k]) for k, v in note.module.state_dict().items())


def test_outputs_are_judged_on_the_sequences_held_out_alone():
    workload = taught()
    plain, ours = (channel(recover=how, score="magnitude").apply(workload, None) for how in ("none", "lstsq"))
    wanted, before, after = (
        torch.cat([workload.forward(w.module, b) for b in workload.calibration])[4::5].flatten(0, 1).double()
        for w in (workload, plain, ours)
    )
    total = (wanted - wanted.mean(0)).square().sum()
    said = ours.notes["recover"]["outputs"]
    assert said["missed_before"] == pytest.approx(float((before - wanted).square().sum() / total), rel=1e-6)
    assert said["missed_after"] == pytest.approx(float((after - wanted).square().sum() / total), rel=1e-6)


def test_the_reader_of_a_stream_that_lost_no_channel_is_left_alone():
    net = shapes.Net(
        lambda m, x: m.out(m.stem(x) + m.down(torch.relu(m.up(m.stem(x))))),
        stem=torch.nn.Linear(6, 16),
        up=torch.nn.Linear(16, 24),
        down=torch.nn.Linear(24, 16),
        out=torch.nn.Linear(16, 5),
    )
    neurons = shapes.site(24, "down", ("up.weight", 0), ("up.bias", 0), ("down.weight", 1))
    made = [(f"{layer}.{part}", 0) for layer in ("stem", "down") for part in ("weight", "bias")]
    stream = shapes.site(
        16, "out", *made, ("up.weight", 1), ("out.weight", 1), group="residual", name="stream"
    )
    given = shapes.workload(net, (neurons, stream), 20, 6)
    activations = collect(given)
    for groups, read in ((["neurons"], {"down"}), (["neurons", "residual"], {"down", "out"})):
        pruned = Channel(0.5, "wanda", groups, 0, recover="none").apply(given, activations)
        assert changed_consumers(pruned, given) == read
