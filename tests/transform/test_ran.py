"""What ran decides: the type of most weight bytes is recorded, and no format without a layer in it."""

import pytest
import torch
from torch import nn

from icd.errors import MissingResource
from icd.transform.executed import on_cuda
from icd.transform.quantize import Precision
from icd.transform.ran import weight_bytes
from tests.tiny import tiny_bert

GROUPS = {"weight_scales": "group", "group_size": 48}


class Own(nn.Linear):
    """A class made of torch's linear layer, which no eight-bit layer stands in for."""


class Stubborn(nn.Module):
    """A module that no conversion reaches."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def __deepcopy__(self, memo):
        return self

    def forward(self, x):
        return x @ self.weight


def net(*layers):
    return nn.Sequential(*layers).eval().requires_grad_(False)


ODD = net(nn.Linear(31, 97), nn.ReLU(), nn.Linear(97, 31))
NO_LINEAR = net(nn.Conv1d(16, 32, 3), nn.BatchNorm1d(32))
NOTHING = net(nn.ReLU())


@pytest.mark.parametrize(
    ("module", "precision", "why"),
    [
        (ODD, Precision("int8", "fail", **GROUPS), "no linear layer of the model has an input and an"),
        (ODD, Precision("int8", "fail", calibration="static"), "output width that 16 divides"),
        (NO_LINEAR, Precision("int8", "fail"), "the model has no linear layer"),
        (net(Own(16, 16)), Precision("int8", "fail"), "classes made of torch's"),
        (NOTHING, Precision("bf16", "fail"), "no parameter of the model became bfloat16"),
        (Stubborn(), Precision("fp16", "fail"), "no parameter of the model became float16"),
        (NO_LINEAR, Precision("fp8", "fail"), "CPUs multiply no fp8"),
    ],
)
def test_a_format_in_which_nothing_can_run_is_refused(module, precision, why):
    sentence = rf"precision={precision.format} cannot be executed on cpu .*{why}.*on_missing=simulate"
    with pytest.raises(MissingResource, match=sentence):
        precision.cast(module, "cpu")


def test_a_format_that_no_layer_runs_in_is_simulated_with_the_reason():
    module, record = Precision("int8", "simulate", **GROUPS).cast(ODD, "cpu")
    assert record["source"] == "simulated" and record["dtype"] == "float32"
    assert record["layers"] == {"rounded to int8": 2}
    assert record["weight_bytes"] == {"float32": 2 * 31 * 97 * 4}
    assert "no executed int8 on cpu (no linear layer" in record["reason"]
    x = torch.randn(5, 31)
    assert 0 < (module(x) - ODD(x)).abs().max() < 0.1  # rounded for real


@pytest.mark.parametrize("name", ["int8", "fp8"])
def test_a_model_without_linear_layers_runs_in_float32_and_says_so(name):
    module, record = Precision(name, "simulate").cast(NO_LINEAR, "cpu")
    x = torch.randn(2, 16, 9)
    assert torch.equal(module(x), NO_LINEAR(x))
    assert (record["dtype"], record["source"], record["layers"]) == ("float32", "measured", {})
    assert record["weight_bytes"] == {"float32": 16 * 32 * 3 * 4} and "float32: no" in record["reason"]


@pytest.mark.parametrize(("name", "dtype"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_sixteen_bits_are_what_parameters_became(name, dtype):
    _, record = Precision(name, "fail").cast(NO_LINEAR, "cpu")
    assert record["weight_bytes"] == {dtype: 16 * 32 * 3 * 2} and record["dtype"] == dtype
    _, record = Precision(name, "simulate").cast(NOTHING, "cpu")
    assert record["dtype"] == "float32" and record["weight_bytes"] == {} and name in record["reason"]


@pytest.mark.parametrize(("large", "dtype"), [(16, "int8"), (64, "float32")])
def test_the_type_is_that_of_most_bytes(large, dtype):
    """128 x 64 weights of a byte against ``large`` x 31 of four."""
    module = net(nn.Linear(128, 64), nn.Linear(31, large * 4))
    _, record = Precision("int8", "simulate", weight_scales="group", group_size=16).cast(module, "cpu")
    assert record["weight_bytes"] == {"int8": 128 * 64, "float32": 31 * large * 4 * 4}
    assert record["dtype"] == dtype
    assert sum(record["layers"].values()) == 2 and record["layers"]["float32"] == 1


@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("group", [None, 32])
def test_on_cuda_too_bytes_are_those_of_the_layers_that_were_replaced(format, group):
    module, _ = on_cuda(net(nn.Linear(64, 96), nn.Linear(96, 40)), format, "row", torch.bfloat16, group)
    dtype = {"fp8": "float8_e4m3fn", "int8": "int8"}[format]
    assert weight_bytes(module) == {"bfloat16": 96 * 40 * 2, dtype: 64 * 96}


def test_tables_that_are_looked_up_count_for_nothing_and_shared_weights_once():
    shared = nn.Linear(8, 8, bias=False)
    assert weight_bytes(net(nn.Embedding(1000, 8), shared, nn.ReLU(), shared)) == {"float32": 8 * 8 * 4}
    assert weight_bytes(net(nn.Embedding(10, 8))) == {"float32": 10 * 8 * 4}  # of nothing else there


def test_a_bert_in_eight_bits_is_in_eight_bits_and_in_float32_has_nothing_to_say():
    workload = tiny_bert()
    assert Precision("int8", "fail").cast(workload.module, "cpu")[1]["dtype"] == "int8"
    record = Precision("fp32", "fail").cast(workload.module, "cpu")[1]
    assert record == {"asked": "fp32", "format": "fp32", "dtype": "float32", "source": "measured"}
