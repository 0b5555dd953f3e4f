"""transform=channel: what goes, that it goes everywhere, and that a layout does not change it."""

import numpy as np
import pytest
import torch

from icd.contracts import Activations
from icd.errors import ConfigError
from icd.model.calibration import collect
from icd.report.caveats import caveats
from icd.transform.channel import Channel
from icd.transform.permute import permute, restore
from tests.tiny import mock, tiny_bert


def channel(**changes):
    return Channel(
        **{"sparsity": 0.5, "score": "magnitude", "groups": ["neurons", "heads"], "seed": 0, **changes}
    )


@pytest.mark.parametrize("score", ["magnitude", "wanda", "random"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.75])
def test_the_share_asked_for_is_dead_at_every_tied_axis(score, sparsity):
    workload = tiny_bert()
    out = channel(score=score, sparsity=sparsity).apply(workload, collect(workload))
    for site in workload.sites:
        dead = np.flatnonzero(~out.live_mask(site))
        assert len(dead) == round(sparsity * site.size)
        for axis in site.axes:
            p = out.module.get_parameter(axis.parameter)
            inner = (dead[:, None] * axis.repeat + np.arange(axis.repeat)).ravel()
            assert (p.index_select(axis.dim, torch.from_numpy(inner)) == 0).all()


@pytest.mark.parametrize("score", ["magnitude", "wanda", "random"])
def test_the_same_channels_die_with_the_same_values_in_any_layout(score):
    workload = tiny_bert()
    activations = collect(workload)
    rng = np.random.default_rng(1)
    layouts = {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}
    plain = channel(score=score).apply(workload, activations)
    laid_out = restore(channel(score=score).apply(permute(workload, layouts), activations))
    for key, tensor in plain.module.state_dict().items():
        assert torch.equal(tensor, laid_out.module.state_dict()[key])


def test_wanda_keeps_what_matters_to_the_output_better_than_chance():
    workload = tiny_bert()
    activations = collect(workload)
    reference = workload.forward(workload.module, workload.inputs)

    def error(score, seed=0):
        out = channel(score=score, seed=seed).apply(workload, activations)
        return float((out.forward(out.module, out.inputs) - reference).norm())

    assert error("wanda") < np.mean([error("random", seed) for seed in range(5)])


def test_the_mock_loses_exactly_the_weak_half_of_every_group():
    workload = mock().build()
    out = channel(score="wanda").apply(workload, collect(workload))
    for layer, site in zip(workload.module.layers, workload.sites, strict=True):
        strength = layer.up.weight.abs().sum(1)
        live = out.live_mask(site)
        assert strength[live].min() > strength[~live].max()


def test_only_the_groups_asked_for_are_touched():
    workload = tiny_bert()
    out = channel(groups=["heads"]).apply(workload, None)
    assert all(out.live_mask(s).all() == (s.group == "neurons") for s in workload.sites)


def test_wanda_without_calibration_says_what_to_use_instead():
    with pytest.raises(ConfigError, match=r"use transform.score=magnitude"):
        channel(score="wanda").apply(mock().build(), None)


def test_the_same_share_of_every_head_dies_and_attention_is_recorded():
    workload = tiny_bert(attention="dims")
    out = channel(score="wanda", groups=["vo_dims", "qk_dims"], attention="dims").apply(
        workload, collect(workload)
    )
    assert {int(out.live_mask(s).sum()) for s in workload.sites if s.group != "neurons"} == {8}
    assert out.notes["attention"] == {"asked": "dims", "sites": "dims"}
    assert channel(attention="dims").apply(mock().build(), None).notes["attention"]["sites"] == "none"


def test_q_and_k_dimensions_are_scored_by_what_they_add_to_the_scores():
    workload = tiny_bert(attention="dims", layers=1)
    site = next(s for s in workload.sites if s.name.endswith("head.2.qk"))
    activations = collect(workload)
    own = workload.module.encoder.layer[0].attention.self
    expected = torch.zeros(16)
    for batch in workload.calibration:
        hidden = workload.module.embeddings(input_ids=batch["input_ids"])
        q, k = (p(hidden)[..., 32:48] for p in (own.query, own.key))
        expected += torch.einsum("bsc,btc->cbst", q, k).square().sum((1, 2, 3))
    assert np.allclose(activations.norms[site.name] ** 2, expected.numpy(), rtol=1e-4)
    assert activations.values[site.name].shape == (64, 16)
    assert np.allclose(
        activations.values[site.name][-32:], (q * k).abs().reshape(32, 16), rtol=1e-4, atol=1e-6
    )


def test_the_residual_is_never_removed():
    with pytest.raises(ConfigError, match="residual is the order of the model's output"):
        channel(groups=["residual"]).apply(tiny_bert(kinds=("residual",)), None)


@pytest.mark.parametrize("attention", ["heads", "dims"])
def test_wanda_is_weight_times_norm_of_the_input_summed_over_a_channel(attention):
    workload = tiny_bert(attention=attention)
    rng = np.random.default_rng(0)
    norms = {s.name: rng.lognormal(sigma=2, size=s.size * s.repeat) for s in workload.sites}
    values = {s.name: np.zeros((1, s.size), np.float32) for s in workload.sites}
    activations = Activations(values, norms, 1)
    groups = ["heads", "neurons", "vo_dims"]
    layouts = {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}
    for given in (workload, permute(workload, layouts)):
        pruned = Channel(0.5, "wanda", groups, 0).apply(given, activations)
        for site in (s for s in workload.sites if s.group in groups):
            weight = workload.module.get_parameter(f"{site.activation}.weight").double().numpy()
            axis = next(a for a in site.axes if a.parameter == f"{site.activation}.weight" and a.dim == 1)
            columns = weight[:, axis.offset : axis.offset + site.size * axis.repeat]
            score = ((columns * norms[site.name]) ** 2).sum(0).reshape(site.size, -1).sum(1)
            kept = np.sort(np.argsort(score)[site.size // 2 :])
            assert np.array_equal(np.flatnonzero(pruned.live_mask(site)), kept), site.name


def test_one_channel_of_a_small_site_stays_and_the_record_says_what_went():
    workload = tiny_bert()
    out = channel(sparsity=0.9).apply(workload, None)
    assert {s.group: int(out.live_mask(s).sum()) for s in workload.sites} == {"heads": 1, "neurons": 26}
    note = out.notes["share"]
    assert note["sites"] == [{"group": "heads", "channels": 4, "sites": 2, "removed": 0.75}]
    assert note["reason"].endswith("asked for: 2 sites of 4 heads: 75% instead of 90%")
    (sentence,) = [c for c in caveats({"transform": out.notes}, {}) if "share" in c]
    assert sentence.startswith("Sites of few channels cannot lose") and sentence.endswith("90%.")
    assert "share" not in channel(sparsity=0.73).apply(workload, None).notes


@pytest.mark.parametrize(
    ("score", "spoil", "said"),
    [
        (
            "wanda",
            "silent",
            "site {}: transform.score=wanda gives all 256 scores equal (0), so nothing is weakest",
        ),
        ("magnitude", "equal", "site {}: transform.score=magnitude gives all 256 scores equal ("),
        ("magnitude", "nan", "site {}: transform.score=magnitude gives 1 of 256 scores that are not finite"),
        ("wanda", "nan", "site {}: transform.score=wanda gives 1 of 256 scores that are not finite"),
        ("wanda", "infinite", "site {}: transform.score=wanda gives 2 of 256 scores that are not finite"),
    ],
)
def test_scores_that_choose_nothing_are_refused_and_never_sorted(score, spoil, said):
    workload = mock().build()
    layer, site = workload.module.layers[0], workload.sites[0]
    down = layer.down.weight
    if spoil == "silent":
        down.data.zero_()
    elif spoil == "equal":
        for axis in site.axes:
            workload.module.get_parameter(axis.parameter).data.fill_(0.5)
    elif spoil == "nan":
        down.data[3, 7] = float("nan")
    else:
        down.data[:, [2, 9]] = float("inf")
    activations = collect(mock().build())
    with pytest.raises(ConfigError) as caught:
        channel(score=score, groups=["neurons"]).apply(workload, activations)
    assert str(caught.value).startswith(said.format(site.name))
    assert str(caught.value).endswith("or use another transform.score")
    nothing = channel(score=score, groups=["neurons"], sparsity=0.0).apply(workload, activations)
    assert nothing.live_mask(site).all(), "where nothing goes, nothing has to be chosen"
    assert channel(score="random", groups=["neurons"]).apply(workload, None).live_mask(site).sum() == 128
