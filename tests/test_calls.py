"""A layer may be called by position or by keyword: what reads or replaces it gives the same."""

import pytest
import torch
from torch import nn

from icd.calls import beside_input, input_of, with_input
from icd.contracts import ModelCard, Site, TensorAxis, Workload
from icd.measure.work import count
from icd.model.calibration import collect
from icd.runtime.auto import Auto
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.transform.calibrate import attach_amax, collect_amax
from icd.transform.channel import Channel
from icd.transform.executed import DynamicInt8Linear, EightBitLinear
from icd.transform.quantize import Precision
from icd.transform.rounding import RoundedLinear
from icd.transform.unstructured import Unstructured


class Net(nn.Module):
    """A gated unit whose layers are all called with or without the keyword of torch's own."""

    def __init__(self, keyword):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(50, 16)
        self.up, self.down = nn.Linear(16, 48), nn.Linear(48, 16)
        self.keyword = keyword

    def call(self, layer, x):
        return layer(input=x) if self.keyword else layer(x)

    def forward(self, ids):
        hidden = self.call(self.embed, ids)
        return hidden + self.call(self.down, torch.relu(self.call(self.up, hidden)))


def built(keyword):
    def draw(seed):
        generator = torch.Generator().manual_seed(seed)
        return {"ids": torch.randint(0, 50, (4, 24), generator=generator)}

    axes = (TensorAxis("up.weight", 0), TensorAxis("up.bias", 0), TensorAxis("down.weight", 1))
    return Workload(
        module=Net(keyword).eval().requires_grad_(False),
        forward=lambda module, inputs: module(**inputs),
        inputs=draw(0),
        sites=(Site("n", 48, axes, "neurons", "down"),),
        card=ModelCard("own", "own", 1, "pretrained", "here"),
        calibration=tuple(draw(1 + k) for k in range(8)),
        tokens=96,
    )


PAIR = [built(False), built(True)]


def same_weights(a, b):
    theirs = b.module.state_dict()
    return all(torch.equal(tensor, theirs[key]) for key, tensor in a.module.state_dict().items())


@pytest.mark.parametrize(
    "transform",
    [
        Channel(0.5, "wanda", ["neurons"], 0, "lstsq"),
        Unstructured(0.5, "wanda", ["neurons"], 0, "lstsq"),
    ],
    ids=["channel", "unstructured"],
)
def test_scores_and_recovery_are_the_same(transform):
    a, b = (transform.apply(workload, collect(workload)) for workload in PAIR)
    assert same_weights(a, b) and not same_weights(a, PAIR[0])
    assert [row["kept"] for row in b.notes["recover"]["consumers"]] == [True]


def test_activations_and_largest_inputs_are_the_same():
    a, b = (collect(workload) for workload in PAIR)
    assert (a.values["n"] == b.values["n"]).all() and (a.norms["n"] == b.norms["n"]).all()
    assert collect_amax(PAIR[0]) == collect_amax(PAIR[1]) and set(collect_amax(PAIR[1])) == {"up", "down"}


@pytest.mark.parametrize("engine", [Masked, Compact, Auto])
@pytest.mark.parametrize(
    "precision",
    [
        Precision("fp32", "fail"),
        Precision("bf16", "fail"),
        Precision("int8", "fail"),
        Precision("int8", "fail", weight_scales="group", group_size=16),
        Precision("fp8", "simulate"),
    ],
    ids=["fp32", "bf16", "int8", "int8 groups", "fp8"],
)
def test_every_engine_answers_and_counts_the_same(engine, precision, tmp_path, monkeypatch):
    monkeypatch.setenv("ICD_CACHE_DIR", str(tmp_path))
    a, b = (engine(16, 16).prepare(workload, precision, "cpu") for workload in PAIR)
    assert torch.equal(a(), b())
    assert count(a, PAIR[0].inputs) == count(b, PAIR[1].inputs)
    assert {part["kind"] for part in count(b, PAIR[1].inputs)} == {"embedding", "linear"}


@pytest.mark.parametrize(
    "make",
    [
        DynamicInt8Linear,
        lambda layer: RoundedLinear(layer, "fp8"),
        lambda layer: RoundedLinear(layer, "int8", "tensor", 16),
        lambda layer: EightBitLinear(layer, "int8", "row", torch.float32),
        lambda layer: EightBitLinear(layer, "int8", "row", torch.float32, 16, True),
    ],
)
def test_a_layer_that_stands_in_for_a_linear_one_takes_its_keyword(make):
    layer, x = nn.Linear(32, 16).requires_grad_(False), torch.randn(2, 5, 32)
    attach_amax(layer, {"": 3.0})
    new = make(layer)
    assert torch.equal(new(input=x), new(x)) and new(x).shape == (2, 5, 16)


def test_the_input_is_the_first_parameter_wherever_it_stands():
    class Layer(nn.Module):
        def forward(self, hidden, mask=None):
            return hidden

    class Open(nn.Module):
        def forward(self, *args, **kwargs):
            return kwargs

    x, mask = torch.ones(2), torch.zeros(2)
    assert input_of(Layer(), (x, mask), {}) is x
    assert input_of(Layer(), (), {"mask": mask, "hidden": x}) is x
    assert input_of(Open(), (), {"flag": 1, "states": x, "mask": mask}) is x
    assert with_input(Layer(), ((x, mask), {}), mask) == ((mask, mask), {})
    args, kwargs = with_input(Layer(), ((), {"mask": mask, "hidden": x}), mask)
    assert args == () and kwargs["hidden"] is mask and kwargs["mask"] is mask
    assert beside_input(Layer(), ((), {"mask": mask, "hidden": x})) == ((), {"mask": mask})
    with pytest.raises(TypeError, match="Open was called without an input"):
        input_of(Open(), (), {"flag": 1})
