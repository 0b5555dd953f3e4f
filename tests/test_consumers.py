"""Sites of layers of every kind: what enters their consumers, which channels go, and that layouts hold."""

from __future__ import annotations

import dataclasses
import re
from functools import partial

import numpy as np
import pytest
import torch

from icd.errors import ConfigError, VerificationError
from icd.graph.pytorch import Pytorch
from icd.model.calibration import collect
from icd.model.declared import check_sites
from icd.pipeline.arms import sliced_layout
from icd.pipeline.carried import check_carried
from icd.pipeline.checks import engine_check, equivalence, relative_error
from icd.report.caveats import caveats
from icd.runtime.auto import Auto
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.channel import Channel
from icd.transform.permute import permute, restore
from icd.transform.quantize import Precision
from icd.transform.unstructured import Unstructured
from tests.shapes import CASES, Net, into_recurrent, own_layer, recurrent, site, workload

FP32 = Precision("fp32", "fail")


@pytest.fixture(params=CASES)
def case(request):
    torch.manual_seed(0)
    return CASES[request.param]()


def turned(workload, seed=1):
    rng = np.random.default_rng(seed)
    return {s.name: rng.permutation(s.size).astype(np.int32) for s in workload.sites}


def wanda(workload, groups=("neurons", "heads"), sparsity=0.5, **changes):
    transform = Channel(sparsity, "wanda", list(groups), 0, **changes)
    return transform.apply(workload, collect(workload))


def test_what_enters_a_consumer_is_recorded_by_channels_and_positions(case):
    workload = case.workload()
    check_sites(workload.module, workload.sites)
    check_carried(workload)
    found, (one,) = collect(workload), workload.sites
    seen = torch.cat([case.entering(workload.module, b["x"]) for b in workload.calibration]).double()
    assert found.values[one.name] == pytest.approx(seen.norm(dim=2).numpy(), rel=1e-4, abs=1e-5)
    norms = seen.square().sum(0).sqrt().reshape(one.size, case.spans, -1).transpose(0, 1)
    assert found.norms[one.name] == pytest.approx(norms.reshape(-1).numpy(), rel=1e-4)


def test_wanda_removes_the_channels_that_torch_alone_finds_weakest(case):
    workload = case.workload()
    (one,) = workload.sites
    kept = np.sort(np.argsort(case.scores(workload).numpy(), kind="stable")[one.size // 2 :])
    for given in (workload, permute(workload, turned(workload))):
        transform = Channel(0.5, "wanda", ["neurons", "heads"], 0)
        out = transform.apply(given, collect(workload))
        assert np.array_equal(np.flatnonzero(out.live_mask(one)), kept)


def test_layouts_keep_the_function_and_are_undone_bit_for_bit(case):
    workload = case.workload()
    assert equivalence(workload, {"turned": turned(workload)})["ok"]
    back = restore(permute(workload, turned(workload))).module.state_dict()
    assert all(torch.equal(back[key], x) for key, x in workload.module.state_dict().items())


def test_compact_computes_what_masked_does(case):
    pruned = wanda(case.workload())
    gathered = permute(pruned, {s.name: sliced_layout(pruned.live_mask(s)) for s in pruned.sites})
    masked, compact = (engine(8, 8).prepare(gathered, FP32, "cpu") for engine in (Masked, Compact))
    assert relative_error(compact(), masked()) < 1e-5
    (one,) = pruned.sites
    kept, size = compact.executed["sites"][one.name]
    assert kept < size or one.name in compact.executed["whole"]


def test_every_kind_is_traced_and_left_as_it_was(case):
    given = case.workload()
    before = {name: id(value) for name, value in given.module.named_parameters(remove_duplicate=False)}
    (graph,) = Pytorch(2, 0.5, 64, True, 16, 10**5, "none").build(given, None).values()
    assert graph.W.nnz and graph.meta["events"] >= 2
    after = {name: id(value) for name, value in given.module.named_parameters(remove_duplicate=False)}
    assert after == before


def test_recovery_is_left_out_by_name_where_it_cannot_be_and_refused_only_where_asked_for(case):
    given = case.workload()
    note = wanda(given, recover="auto").notes["recover"]
    (one,) = given.sites
    kind = type(given.module.get_submodule(one.activation))
    assert {row["module"] for row in note.get("consumers", ())} <= {one.activation}
    if kind is not torch.nn.Linear:
        assert note["method"] == "none" and "lstsq" not in note["reason"]
        assert one.activation in note["reason"]
        with pytest.raises(ConfigError, match=rf"^transform\.recover=lstsq: .*{one.activation}"):
            wanda(given, recover="lstsq")


def test_a_weight_with_two_names_is_not_refitted_for_one_of_them():
    given = CASES["called again"]().workload()
    note = wanda(given, recover="auto").notes["recover"]
    assert note["method"] == "none" and "used in more than one place" in note["reason"]


@pytest.mark.parametrize(
    ("activation", "dim", "said"),
    [
        ("mix", None, "what enters mix does not follow the site's channels in dimension -1"),
        ("mix", -1, "what enters mix does not follow the site's channels in dimension -1"),
        ("mix", 3, "mix is called on (2, 24, 24), whose dimension 3 should hold 24 or more"),
        ("mix", 0, "mix is called on (2, 24, 24), whose dimension 0 should hold 24 or more"),
    ],
)
def test_a_dimension_that_does_not_carry_the_site_is_refused(activation, dim, said):
    given = own_layer(dim).workload()
    check_sites(given.module, given.sites)
    with pytest.raises(ConfigError, match=re.escape(said)):
        check_carried(given)


class Whole(torch.nn.Module):
    """Both matrices of a block in one module, as wide inside as outside."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Parameter(torch.randn(16, 16))
        self.second = torch.nn.Parameter(torch.randn(16, 16))

    def forward(self, x):
        return torch.relu(x @ self.first) @ self.second


def test_a_module_that_makes_the_site_itself_is_no_consumer_though_its_width_fits():
    net = Net(lambda m, x: m.block(x), block=Whole())
    given = workload(net, (site(16, "block", ("block.second", 0), ("block.first", 1)),), 2, 5, 16)
    check_sites(given.module, given.sites)
    assert equivalence(given, {"turned": turned(given)})["ok"]
    with pytest.raises(ConfigError, match="what enters block does not follow the site's channels"):
        check_carried(given)


def test_a_consumer_that_is_never_called_is_named():
    net = Net(
        lambda m, x: torch.relu(m.up(x)) @ m.down.weight.T,
        up=torch.nn.Linear(6, 32),
        down=torch.nn.Linear(32, 6),
    )
    axes = ("up.weight", 0), ("up.bias", 0), ("down.weight", 1)
    given = workload(net, (site(32, "down", *axes),), 2, 5, 6)
    with pytest.raises(ConfigError, match="the forward never calls down on the calibration inputs"):
        collect(given)
    with pytest.raises(ConfigError, match="the calibration inputs never reach down"):
        Unstructured(0.5, "wanda", ["neurons"], 0).apply(given, None)
    assert Channel(0.5, "magnitude", ["neurons"], 0).apply(given, None).live_mask(given.sites[0]).sum() == 16


def test_tokens_are_positions_of_the_first_call_and_not_channels_or_classes():
    linear = Net(
        lambda m, x: m.down(torch.relu(m.up(x))).mean(1),
        up=torch.nn.Linear(6, 32),
        down=torch.nn.Linear(32, 10),
    )
    axes = ("up.weight", 0), ("up.bias", 0), ("down.weight", 1)
    counted = {
        "classifier": workload(linear, (site(32, "down", *axes),), 3, 5, 6),
        "pixels": CASES["pixels and statistics"]().workload(),
        "called again": CASES["called again"]().workload(),
    }
    found = {name: collect(given).tokens for name, given in counted.items()}
    assert found == {"classifier": 4 * 3 * 5, "pixels": 4 * 3 * 4 * 5, "called again": 4 * 2 * 5}


def test_channels_of_buffers_are_zeroed_but_statistics_are_no_magnitude():
    given = CASES["pixels and statistics"]().workload()
    given.module.norm.running_var.copy_(torch.linspace(1, 1e6, 24))
    (one,) = given.sites
    out = Channel(0.5, "magnitude", ["neurons"], 0).apply(given, None)
    parts = [given.module.a.weight.flatten(1), given.module.b.weight.transpose(0, 1).flatten(1)]
    parts += [given.module.norm.weight[:, None], given.module.norm.bias[:, None]]
    score = torch.cat(parts, 1).double().square().sum(1).numpy()
    assert np.array_equal(np.flatnonzero(out.live_mask(one)), np.sort(np.argsort(score)[12:]))
    dead = torch.from_numpy(~out.live_mask(one))
    assert not out.module.norm.running_var[dead].any() and out.module.norm.running_var[~dead].all()
    assert given.module.norm.running_var.all(), "a transform is never in place"


def test_what_averages_over_a_site_is_permuted_but_kept_whole():
    net = Net(
        lambda m, x: m.down(m.norm(torch.relu(m.up(x)))),
        up=torch.nn.Linear(6, 32),
        norm=torch.nn.LayerNorm(32),
        down=torch.nn.Linear(32, 6),
    )
    axes = ("up.weight", 0), ("up.bias", 0), ("norm.weight", 0), ("norm.bias", 0), ("down.weight", 1)
    given = workload(net, (site(32, "down", *axes),), 2, 5, 6)
    pruned = wanda(given)
    gathered = permute(pruned, {"n": sliced_layout(pruned.live_mask(given.sites[0]))})
    step = Compact(8, 8).prepare(gathered, FP32, "cpu")
    assert step.executed["sites"] == {"n": [32, 32]} and "LayerNorm" in step.executed["whole"]["n"]
    (said,) = [c for c in caveats({"arms": {"linear": {"executed": step.executed}}}, {}) if "not cut" in c]
    assert said.startswith("No layout makes 1 of the sites faster") and "LayerNorm" in said
    assert relative_error(step(), Masked(8, 8).prepare(gathered, FP32, "cpu")()) < 1e-6


def test_a_site_inside_one_group_is_permuted_but_kept_whole():
    net = Net(
        lambda m, x: m.b(torch.relu(m.a(x))),
        a=torch.nn.Conv1d(4, 32, 3, groups=2),
        b=torch.nn.Conv1d(32, 5, 1),
    )
    axes = ("a.weight", 0, 1, 16), ("a.bias", 0, 1, 16), ("b.weight", 1, 1, 16)
    given = workload(net, (site(16, "b", *axes),), 2, 4, 9)
    check_sites(given.module, given.sites)
    assert equivalence(given, {"turned": turned(given)})["ok"]
    pruned = wanda(given)
    gathered = permute(pruned, {"n": sliced_layout(pruned.live_mask(given.sites[0]))})
    step = Compact(8, 8).prepare(gathered, FP32, "cpu")
    assert "unequal width" in step.executed["whole"]["n"]
    assert relative_error(step(), Masked(8, 8).prepare(gathered, FP32, "cpu")()) < 1e-6


def test_an_axis_of_another_repeat_is_cut_and_counted_by_its_own():
    given = CASES["interleaved"]().workload()
    (one,) = given.sites
    assert {a.parameter: a.repeat for a in one.axes} == {"up.weight": 2, "up.bias": 2, "down.weight": 1}
    pruned = wanda(given)
    step = Compact(8, 8).prepare(permute(pruned, {"n": sliced_layout(pruned.live_mask(one))}), FP32, "cpu")
    shapes = {name: tuple(p.shape) for name, p in step.module.named_parameters()}
    assert shapes == {"up.weight": (32, 20), "up.bias": (32,), "down.weight": (20, 16), "down.bias": (20,)}
    assert (step.module.up.out_features, step.module.down.in_features) == (32, 16)


@pytest.mark.parametrize("engine", [Compact, partial(Auto, cache=False)])
def test_a_forward_that_fails_without_the_channels_that_were_cut_is_told_what_to_declare(engine):
    case = CASES["grouped queries"]()
    (heads,) = case.sites
    given = dataclasses.replace(case.workload(), sites=(dataclasses.replace(heads, counts=()),))
    pruned = wanda(given)
    gathered = permute(pruned, {heads.name: sliced_layout(pruned.live_mask(heads))})
    with pytest.raises(ConfigError, match=r"cut away the model's forward fails \(.*\); declare in counts"):
        engine_check("linear", engine(8, 8).prepare(gathered, FP32, "cpu"), gathered, gathered.inputs, 1e-4)
    whole = Masked(8, 8).prepare(gathered, FP32, "cpu")
    assert engine_check("linear", whole, gathered, gathered.inputs, 1e-4)["ok"]


def test_a_norm_without_weights_over_a_site_that_is_cut_is_found_and_told_of():
    net = Net(
        lambda m, x: m.down(torch.softmax(m.up(x), -1)),
        up=torch.nn.Linear(6, 32),
        down=torch.nn.Linear(32, 6),
    )
    axes = ("up.weight", 0), ("up.bias", 0), ("down.weight", 1)
    pruned = wanda(workload(net, (site(32, "down", *axes),), 2, 5, 6))
    gathered = permute(pruned, {"n": sliced_layout(pruned.live_mask(pruned.sites[0]))})
    step = Compact(8, 8).prepare(gathered, FP32, "cpu")
    with pytest.raises(
        VerificationError, match=r"or a softmax computes over the channels .* runtime=masked$"
    ):
        engine_check("linear", step, gathered, gathered.inputs, 1e-4)
    step = Masked(8, 8).prepare(gathered, FP32, "cpu")
    assert engine_check("linear", step, gathered, gathered.inputs, 1e-4)["ok"]


@pytest.mark.parametrize("kind", [torch.nn.LSTM, torch.nn.GRU, torch.nn.RNN])
def test_the_widths_of_a_recurrent_layer_follow_what_it_reads_and_what_it_makes(kind):
    torch.manual_seed(0)
    before, inside = into_recurrent(kind), recurrent()
    units = dataclasses.replace(inside.sites[0], counts=())
    for case in (before, dataclasses.replace(inside, sites=(units,))):
        pruned = wanda(case.workload())
        name = pruned.sites[0].name
        gathered = permute(pruned, {name: sliced_layout(pruned.live_mask(pruned.sites[0]))})
        step = Compact(8, 8).prepare(gathered, FP32, "cpu")
        assert step.executed["sites"] == {name: [16, 24]}
        assert engine_check("linear", step, gathered, gathered.inputs, 1e-5)["ok"]
        layer = step.module.rnn
        assert (layer.input_size, layer.hidden_size) == ((16, 10) if case is before else (6, 16))


def test_units_between_two_recurrent_layers_are_no_input_of_theirs():
    net = Net(
        lambda m, x: m.rnn(x)[0], rnn=torch.nn.LSTM(24, 24, num_layers=2), cell=torch.nn.LSTMCell(24, 24)
    )
    between = site(24, "rnn", ("rnn.weight_ih_l0", 0), ("rnn.weight_ih_l1", 1))
    with pytest.raises(ConfigError, match=r"activation 'rnn' \(LSTM\) does not read the site"):
        check_sites(net, [between])
    with pytest.raises(ConfigError, match=r"activation 'cell' \(LSTMCell\) does not read the site"):
        check_sites(net, [site(24, "cell", ("cell.weight_ih", 0), ("cell.weight_hh", 1))])
    check_sites(net, [site(24, "cell", ("cell.weight_ih", 1))])
