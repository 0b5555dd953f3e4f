"""A model that is no function of its inputs, or no numbers, is called that and not something else."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from icd.contracts import ModelCard, TensorAxis, Workload
from icd.errors import ConfigError, VerificationError
from icd.model.calibration import collect
from icd.pipeline.checks import equivalence
from icd.pipeline.soundness import check_activations, check_answers, check_read, check_weights
from tests.shapes import site
from tests.tiny import tiny_mamba

NEURONS = site(8, "down", ("up.weight", 0), ("up.bias", 0), ("down.weight", 1))
TURNED = {"n": np.random.default_rng(0).permutation(8).astype(np.int32)}


class Net(nn.Module):
    def __init__(self, between=None):
        super().__init__()
        self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)
        self.between = between or nn.Identity()

    def forward(self, x):
        return self.down(self.between(torch.relu(self.up(x))))


def workload(module, **inputs):
    given = inputs or {"x": torch.randn(2, 3, 4)}
    card = ModelCard("own", "Net", 1, "unknown", "here")
    return Workload(module.eval(), lambda m, i: m(**i), given, (), card, tokens=6)


@pytest.mark.parametrize(("value", "where"), [("nan", [3, 2]), ("inf", [0, 0]), ("-inf", [7, 3])])
def test_a_weight_that_is_no_number_is_named_with_its_place(value, where):
    module = Net()
    with torch.no_grad():
        module.up.weight[tuple(where)] = float(value)
    said = rf"model=own: up\.weight holds NaN or infinity \(1 of 32 values, the first at \[{where[0]}, "
    with pytest.raises(ConfigError, match=said):
        check_weights(workload(module))
    check_weights(workload(Net()))


@pytest.mark.parametrize("key", ["inputs", "calibration", "probes"])
def test_an_input_that_is_no_number_is_named_and_a_mask_of_infinities_is_none(key):
    good = {"x": torch.zeros(2, 3, 4), "mask": torch.full((3, 3), float("-inf"))}
    bad = {**good, "x": good["x"].clone().index_fill_(0, torch.tensor([1]), float("nan"))}
    own = workload(Net(), **good)
    check_weights(replace(own, calibration=(good,), probes=(good,)))
    with pytest.raises(ConfigError, match=f"model=own: {key}: x holds NaN"):
        check_weights(replace(own, **{key: bad if key == "inputs" else (good, bad)}))


class Noise(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        return x + self.size * torch.rand_like(x)


class Counts(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return x * self.calls


class Drops(Net):
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.5)


@pytest.mark.parametrize(
    ("module", "where"),
    [
        (Net(Noise(1.0)), "in the output of between"),
        (Net(Counts()), "in the output of between"),
        (Net(nn.Sequential(nn.ReLU(), Noise(0.1))), r"in the output of between\.1"),
        (Drops(), "in the module's own forward"),
    ],
)
def test_a_forward_that_answers_differently_each_time_is_called_that_and_the_first_module_is_named(
    module, where
):
    own = workload(module)
    with pytest.raises(
        ConfigError, match=f"two calls on the same inputs answer differently, .* first {where};"
    ):
        check_answers(own, own.inputs)


def test_a_forward_that_answers_alike_passes():
    own = workload(Net(nn.Dropout(0.5)))  # which is not active in eval mode
    check_answers(own, own.inputs)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_output_that_is_no_number_although_the_weights_are_names_the_module_that_made_it(value):
    class Breaks(nn.Module):
        def forward(self, x):
            return torch.where(x > x.mean(), x, value)

    own = workload(Net(Breaks()))
    check_weights(own)
    with pytest.raises(ConfigError, match=r"although the weights do not, first in the output of between;"):
        check_answers(own, own.inputs)


def test_a_buffer_that_is_no_number_is_named_where_it_reaches_the_output_and_not_where_it_does_not():
    module = Net(nn.BatchNorm1d(3))
    module.register_buffer("unused", torch.tensor(float("nan")))
    own = workload(module)
    check_answers(own, own.inputs)
    del module.unused
    module.between.running_mean[1] = float("nan")
    said = r"first in the output of between, and so does the buffer between\.running_mean; expected finite"
    with pytest.raises(ConfigError, match=said):
        check_answers(own, own.inputs)


def test_noise_below_float32_is_told_from_a_missing_axis_where_equivalence_is_proved():
    tiny = tiny_mamba()
    noisy = replace(tiny, forward=lambda m, i: tiny.forward(m, i) * (1 + 1e-8 * torch.rand(1).item()))
    check_answers(noisy, noisy.inputs)
    identity = {site.name: tiny.layout(site) for site in tiny.sites}
    assert equivalence(tiny, {"linear": identity})["ok"]
    with pytest.raises(ConfigError, match="two calls on the same inputs answer differently"):
        equivalence(noisy, {"linear": identity})


def test_calibration_that_makes_activations_that_are_no_numbers_names_the_site():
    tiny = tiny_mamba()
    site = tiny.sites[0]
    broken = tiny.module.get_submodule(site.activation).register_forward_pre_hook(
        lambda module, args: (args[0] * float("inf"), *args[1:])
    )
    with_text = replace(tiny, calibration=(tiny.inputs,))
    hooked = collect(with_text)
    broken.remove()
    with pytest.raises(
        ConfigError, match=rf"calibration: what enters {site.activation} \(site {site.name}\)"
    ):
        check_activations(with_text, hooked)
    check_activations(with_text, collect(with_text))
    check_activations(with_text, None)


def test_equivalence_leaves_whole_what_has_no_batch_and_cuts_what_has():
    seen = []

    def forward(module, inputs):
        seen.append({name: tuple(x.shape) for name, x in inputs.items()})
        return module(inputs["x"]) * inputs["flag"] + inputs["mask"].sum()

    own = workload(Net(), x=torch.randn(5, 3, 4), mask=torch.zeros(5, 5), flag=torch.tensor(2.0))
    found = equivalence(replace(own, forward=forward, batch_dims={"x": 0}), {})
    assert seen == [{"x": (2, 3, 4), "mask": (5, 5), "flag": ()}] and found["sequences"] == 2
    seen.clear()
    assert equivalence(replace(own, forward=forward), {})["sequences"] == 5
    assert seen[0]["x"] == (5, 3, 4)
    loss = replace(own, forward=lambda m, i: m(i["x"]).sum())
    assert equivalence(loss, {})["sequences"] == 1


def test_an_output_of_zeros_proves_nothing_and_is_refused_as_that():
    net = Net()
    net.down.weight.data.zero_(), net.down.bias.data.zero_()
    own = workload(net)
    with pytest.raises(ConfigError, match=r"the output on the inputs is zero everywhere, so that no check"):
        check_answers(own, own.inputs)
    net.down.bias.data[0] = 1e-30
    check_answers(own, own.inputs)


class Remembers(nn.Module):
    """Counts its calls and keeps what it saw last; neither is in the answer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("last", torch.zeros(8))

    def forward(self, x):
        self.calls += 1
        self.last = x.mean((0, 1))
        return x


def test_what_a_forward_writes_into_buffers_is_no_matter_of_equivalence():
    own = replace(workload(Net(Remembers())), sites=(NEURONS,))
    assert equivalence(own, {"linear": TURNED})["max_rel_err"] < 1e-14
    assert int(own.module.between.calls) == 0
    with pytest.raises(VerificationError, match="a tied axis is missing or wrong"):
        equivalence(replace(own, sites=(replace(NEURONS, axes=NEURONS.axes[1:]),)), {"linear": TURNED})


class Wider(Net):
    """A net with a second branch and layers that nothing calls."""

    def __init__(self):
        super().__init__()
        self.side, self.norm, self.idle = nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 8)

    def forward(self, x):
        return super().forward(x.to(self.idle.weight.dtype)) + self.norm(self.side(x))[..., :4]


def tied_too(module, parameter):
    axes = (*NEURONS.axes, TensorAxis(parameter, 0))
    return replace(workload(module), sites=(replace(NEURONS, axes=axes),))


@pytest.mark.parametrize("parameter", ["idle.weight", "idle.bias"])
def test_an_axis_on_what_no_forward_reads_is_refused_for_nothing_proves_it(parameter):
    given = tied_too(Wider(), parameter)
    assert equivalence(given, {"linear": TURNED})["ok"]
    said = rf"^site n: the forward reads {parameter} on none of inputs, calibration and probes, so that"
    with pytest.raises(ConfigError, match=said):
        check_read(given)
    check_read(replace(given, sites=(NEURONS,)))


def test_what_calibration_or_probes_alone_reach_is_read():
    class Routed(Wider):
        def forward(self, x):
            return super().forward(x) + (self.idle(self.side(x))[..., :4] if len(x) == 3 else 0)

    given, more = tied_too(Routed(), "idle.weight"), {"x": torch.randn(3, 3, 4)}
    for key in ("calibration", "probes"):
        check_read(replace(given, **{key: (given.inputs, more)}))
        with pytest.raises(ConfigError, match=r"the forward reads idle\.weight on none"):
            check_read(replace(given, **{key: (given.inputs,)}))


@pytest.mark.parametrize("parameter", ["norm.weight", "norm.bias"])
def test_a_new_norm_of_ones_and_zeros_does_not_hide_that_it_is_none_of_the_site(parameter):
    given = tied_too(Wider(), parameter)
    values = given.module.norm.weight.clone(), given.module.norm.bias.clone()
    with pytest.raises(VerificationError, match=rf"wrong \(seen with other values in {parameter}, which is"):
        equivalence(given, {"linear": TURNED})
    assert torch.equal(given.module.norm.weight, values[0]) and torch.equal(given.module.norm.bias, values[1])


def test_a_new_norm_of_the_site_itself_is_proved_with_other_values_too():
    given = workload(Net(nn.LayerNorm(8)))
    axes = (*NEURONS.axes, TensorAxis("between.weight", 0), TensorAxis("between.bias", 0))
    whole = replace(given, sites=(replace(NEURONS, axes=axes),))
    assert equivalence(whole, {"linear": TURNED})["max_rel_err"] < 1e-14
