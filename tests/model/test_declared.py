"""Declared sites against their module: consumers, names, groups of layers, weights that are computed."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from icd.consumers import named_once
from icd.errors import ConfigError
from icd.model.declared import check_sites
from icd.pipeline.checks import equivalence, relative_error
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.shapes import CASES, Net, site, workload

AXES = ("up.weight", 0), ("up.bias", 0), ("down.weight", 1)


def block(**more):
    layers = {"up": nn.Linear(6, 24), "act": nn.GELU(), "down": nn.Linear(24, 6), **more}
    return Net(lambda m, x: m.down(m.act(m.up(x))), **layers)


def refused(module, *sites):
    with pytest.raises(ConfigError) as caught:
        check_sites(module, sites)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("name", ["act", "up", "drop", "other", "inner"])
def test_an_activation_that_does_not_read_the_site_is_refused_with_those_that_do(name):
    module = block(drop=nn.Dropout(), other=nn.Linear(24, 6), inner=nn.Sequential(nn.Linear(24, 24)))
    kind = type(module.get_submodule(name)).__name__
    assert refused(module, site(24, name, *AXES)) == (
        f"site n: activation {name!r} ({kind}) does not read the site: none of its axes is that module's "
        "input dimension; down would do"
    )


def test_every_module_that_would_do_is_named_and_does():
    net = Net(
        lambda m, x: m.left(torch.relu(m.up(x))) + m.right(torch.relu(m.up(x))),
        up=nn.Linear(6, 24),
        left=nn.Linear(24, 6),
        right=nn.Linear(24, 6),
    )
    one = site(24, "up", *AXES[:2], ("left.weight", 1), ("right.weight", 1))
    assert refused(net, one).endswith("; left or right would do")
    assert refused(net, dataclasses.replace(one, activation="nowhere")) == (
        "site n: the module has no submodule 'nowhere'; left or right would do"
    )
    for name in ("left", "right"):
        check_sites(net, [dataclasses.replace(one, activation=name)])


def test_a_site_that_nothing_reads_is_refused_whatever_it_names():
    assert refused(block(), site(24, "down", *AXES[:2])).endswith("is that module's input dimension")


@pytest.mark.parametrize(
    "name", ["time steps", "whole groups", "inside groups", "transposed", "attention", "transformers' Conv1D"]
)
def test_the_module_that_makes_a_site_is_never_its_consumer(name):
    case = CASES[name]()
    (one,) = case.sites
    check_sites(case.module, case.sites)
    maker = one.axes[0].parameter.rpartition(".")[0]
    said = refused(case.module, dataclasses.replace(one, activation=maker))
    assert f"activation {maker!r}" in said and f"{one.activation}" in said.partition("; ")[2]


# --- weights that a forward computes --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "parameters"),
    [
        (weight_norm, ["up.weight_g", "up.weight_v", "up.weight"]),
        (
            parametrizations.weight_norm,
            ["up.parametrizations.weight.original0", "up.parametrizations.weight.original1", "up.weight"],
        ),
        (nn.utils.spectral_norm, ["up.weight_orig", "up.weight_u", "up.weight"]),
        (parametrizations.spectral_norm, ["up.parametrizations.weight.original", "up.weight"]),
        (
            lambda layer: prune.random_unstructured(layer, "weight", 0.5),
            ["up.weight_orig", "up.weight_mask", "up.weight"],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_weight_that_every_forward_computes_is_refused_and_what_to_do_is_said(norm, parameters):
    module = block()
    norm(module.up)
    for parameter in parameters:
        said = refused(module, site(24, "down", (parameter, 0), *AXES[1:]))
        assert said.startswith(
            "site n: up.weight is no parameter: every forward computes it from others (weight norm"
        )
        assert said.endswith("and declare up.weight") and "remove_parametrizations" in said


@pytest.mark.parametrize("norm", [weight_norm, parametrizations.weight_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_weight_norm_elsewhere_in_the_model_is_no_hindrance(norm):
    module = Net(
        lambda m, x: m.out(m.down(torch.relu(m.up(x)))),
        up=nn.Linear(6, 24),
        down=nn.Linear(24, 6),
        out=norm(nn.Linear(6, 6)),
    )
    given = workload(module, (site(24, "down", *AXES),), 2, 5, 6)
    with torch.no_grad():
        given.forward(given.module, given.inputs)  # as a loader's module is tried out
    layouts = {"n": np.random.default_rng(0).permutation(24).astype(np.int32)}
    assert equivalence(given, {"turned": layouts})["ok"]
    steps = [
        e(8, 8).prepare(permute(given, layouts), Precision("fp32", "fail"), "cpu") for e in (Masked, Compact)
    ]
    assert relative_error(steps[0](), steps[1]()) < 1e-6


# --- layers of several groups ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "axes"),
    [
        (nn.Conv1d(4, 24, 1, groups=2), [("up.weight", 0), ("up.bias", 0), ("down.weight", 1)]),
        (nn.Conv1d(4, 24, 1, groups=4), [("up.bias", 0), ("up.weight", 0), ("down.weight", 1)]),
        (nn.ConvTranspose1d(24, 8, 1, groups=2), [("up.weight", 0), ("down.weight", 1)]),
        (nn.ConvTranspose1d(4, 24, 1, groups=2), [("up.weight", 1), ("down.weight", 1)]),
    ],
)
def test_a_layout_that_would_cross_the_groups_of_a_convolution_is_refused(layer, axes):
    module = Net(lambda m, x: m.down(m.up(x)), up=layer, down=nn.Conv1d(24, 4, 1))
    said = refused(module, site(24, "down", *axes))
    assert f"up ({type(layer).__name__}) has {layer.groups} groups of" in said
    assert said.endswith("declare whole groups as channels (repeat) or leave the site out")


def test_inputs_of_a_grouped_convolution_move_inside_their_group_alone():
    module = Net(lambda m, x: m.b(m.a(x)), a=nn.Conv2d(4, 24, 1), b=nn.Conv2d(24, 6, 3, groups=3))
    said = refused(module, site(24, "b", ("a.weight", 0), ("a.bias", 0), ("b.weight", 1)))
    assert "b.weight: b (Conv2d) has 3 groups of 8: no channel can move from one to another" in said


def test_channels_of_a_group_norm_move_inside_their_group_or_with_it():
    def net(groups):
        return Net(
            lambda m, x: m.b(m.norm(m.a(x))),
            a=nn.Conv1d(4, 24, 1),
            norm=nn.GroupNorm(groups, 24),
            b=nn.Conv1d(24, 4, 1),
        )

    def tied(size, repeat, offset=0):
        names = [("a.weight", 0), ("a.bias", 0), ("norm.weight", 0), ("norm.bias", 0), ("b.weight", 1)]
        return site(size, "b", *((name, dim, repeat, offset) for name, dim in names))

    assert "norm (GroupNorm) has 4 groups of 6" in refused(net(4), tied(24, 1))
    for groups, one in ((1, tied(24, 1)), (4, tied(4, 6)), (4, tied(6, 1, offset=6))):
        given = workload(net(groups), (one,), 2, 4, 9)
        check_sites(given.module, given.sites)
        layouts = {"n": np.random.default_rng(0).permutation(one.size).astype(np.int32)}
        assert equivalence(given, {"turned": layouts})["ok"]


# --- one tensor, several names ------------------------------------------------------------------------------


class Tied(nn.Module):
    """An embedding whose weight is the head's."""

    def __init__(self):
        super().__init__()
        self.emb, self.up, self.down = nn.Embedding(30, 12), nn.Linear(12, 40), nn.Linear(40, 12)
        self.head = nn.Linear(12, 30, bias=False)
        self.head.weight = self.emb.weight

    def forward(self, x):
        h = self.emb(x.abs().mul(9).long().clamp(max=29))
        return self.head(h + self.down(torch.relu(self.up(h))))


STREAM = ("up.weight", 1), ("down.weight", 0), ("down.bias", 0)


@pytest.mark.parametrize(
    "names", [["emb.weight"], ["head.weight"], ["emb.weight", "head.weight"], ["head.weight", "emb.weight"]]
)
def test_a_tied_tensor_is_accepted_under_either_name_and_moved_once(names):
    given = workload(Tied(), (site(12, "up", *((n, 1) for n in names), *STREAM),), 2, 7)
    check_sites(given.module, given.sites)
    assert [a.parameter for a in given.sites[0].axes].count("emb.weight") == 1
    layouts = {"n": np.random.default_rng(0).permutation(12).astype(np.int32)}
    assert equivalence(given, {"turned": layouts})["ok"]
    moved = permute(given, layouts)
    assert moved.module.head.weight is moved.module.emb.weight


def test_a_tied_tensor_is_cut_under_both_names():
    given = workload(Tied(), (site(12, "up", ("head.weight", 1), *STREAM),), 2, 7)
    live = np.arange(12) < 5
    module = given.module
    for tied in (module.emb.weight, module.up.weight):
        tied.data[:, ~live] = 0
    module.down.weight.data[~live] = module.down.bias.data[~live] = 0
    given = dataclasses.replace(given, live={"n": live})
    masked, compact = (e(8, 8).prepare(given, Precision("fp32", "fail"), "cpu") for e in (Masked, Compact))
    assert compact.module.head.weight is compact.module.emb.weight and compact.module.emb.weight.shape == (
        30,
        8,
    )
    assert relative_error(compact(), masked()) < 1e-6


def test_two_sites_on_one_tensor_under_two_names_are_found():
    module = Tied()
    first = site(12, "up", ("emb.weight", 1), *STREAM, name="first")
    second = site(12, "head", ("head.weight", 1), name="second")
    for sites in ((first, second), named_once(module, (first, second))):
        said = refused(module, *sites)
        assert said.startswith("sites first and second lie on index 0 of emb.weight, dimension 1")
    assert "head.weight is emb.weight under another name" in refused(module, first, second)


def test_sites_of_one_block_under_two_names_are_found():
    case = CASES["called again"]()
    axes = ("blocks.0.up.weight", 0), ("blocks.0.up.bias", 0), ("blocks.0.down.weight", 1)
    again = site(24, "blocks.2.down", *axes, name="again")
    assert "sites again and n lie on index 0 of blocks.0.up.weight" in refused(
        case.module, *case.sites, again
    )


def test_a_buffer_is_an_axis_and_a_name_that_is_neither_is_refused():
    case = CASES["pixels and statistics"]()
    check_sites(case.module, case.sites)
    (one,) = case.sites
    left_out = dataclasses.replace(one, axes=tuple(a for a in one.axes if "running" not in a.parameter))
    given = dataclasses.replace(case.workload(), sites=(left_out,))
    layouts = {"turned": {"n": np.roll(np.arange(24), 1).astype(np.int32)}}
    with pytest.raises(Exception, match="a tied axis is missing"):
        equivalence(given, layouts)
    for name in ("norm.running_men", "norm", "norm.eps", "nowhere.weight"):
        wrong = dataclasses.replace(one, axes=(*one.axes, dataclasses.replace(one.axes[0], parameter=name)))
        assert re.search(f"the module has no parameter .*{name!r}", refused(case.module, wrong))


# --- what holds no weight, and axes that lie on one another ---------------------------------------------


class Codes(nn.Module):
    """A quantised layer of one's own: codes, and a scale for each row."""

    def __init__(self, parameter):
        super().__init__()
        codes = torch.randint(-8, 8, (6, 24), dtype=torch.int8)
        if parameter:
            self.weight = nn.Parameter(codes, requires_grad=False)
        else:
            self.register_buffer("weight", codes)

    def forward(self, x):
        return x @ self.weight.to(x.dtype).T


@pytest.mark.parametrize(("parameter", "held"), [(True, "parameter"), (False, "buffer")])
def test_codes_of_a_quantised_layer_are_called_that_and_not_an_activation_that_reads_nothing(parameter, held):
    said = refused(block(down=Codes(parameter)), site(24, "down", *AXES))
    assert said == (
        f"site n: activation 'down' (Codes) holds down.weight as a {held} of int8, and channels are judged "
        "by floating-point parameters; make it one in your loader"
    )


def test_two_axes_of_one_site_on_the_same_rows_are_told_from_two_sites():
    fused = nn.Linear(6, 24)
    overlapping = site(12, "down", ("up.weight", 0), ("up.weight", 0, 1, 11), ("down.weight", 1))
    assert refused(block(up=fused), overlapping) == (
        "site n: two of its axes lie on index 11 of up.weight, dimension 0; look at their offset and repeat"
    )
