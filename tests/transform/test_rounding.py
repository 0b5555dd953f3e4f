"""Rounding is what the formats' definitions say, in numpy: every value and every scale."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from icd.transform.executed import DynamicInt8Linear, packed
from icd.transform.quantize import BYTES, TOLERANCE, Precision
from icd.transform.rounding import quantise, quantise_input, quantise_weight, round_to, round_weight
from tests.conftest import ROOT
from tests.tiny import tiny_bert


def e4m3():
    """The values of fp8 as its definition reads: sign, exponent of 4 bits with bias 7, 3 bits of mantissa."""
    small = [m / 8 * 2.0**-6 for m in range(8)]
    normal = [(1 + m / 8) * 2.0 ** (e - 7) for e in range(1, 16) for m in range(8)][:-1]  # the last is NaN
    assert normal[-1] == 448
    return np.array(sorted({sign * v for v in (*small, *normal) for sign in (1.0, -1.0)}))


VALUES = {"fp8": e4m3(), "int8": np.arange(-127.0, 128.0)}


def rows(*shape, seed=0):
    draw = np.random.default_rng(seed).standard_normal(shape) * np.geomspace(0.01, 30, shape[-2])[:, None]
    return draw.astype(np.float32)


def nearest(x, format, axis):
    """``x`` on the format's nearest values times one scale along ``axis``, and the scale; by brute force."""
    values = VALUES[format]
    scale = np.abs(x).max(axis=axis, keepdims=axis is not None) / values[-1]
    at = np.abs((x / scale)[..., None] - values).argmin(-1)
    return values[at] * scale, scale


@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_rounded_value_is_the_nearest_one_of_the_format(format, axis):
    x = rows(24, 40)
    expected, scale = nearest(x.astype(np.float64), format, axis)
    assert quantise(torch.from_numpy(x), format, axis)[1].numpy() == pytest.approx(scale, rel=1e-6)
    ours = round_to(torch.from_numpy(x), format, axis).numpy()
    error, best = np.abs(ours - x), np.abs(expected - x)  # one halfway between two may fall to either side
    assert (error <= best + 1e-5 * (scale + np.abs(x))).all()
    assert np.mean(np.isclose(ours, expected, rtol=1e-5, atol=1e-9)) > 0.99


@pytest.mark.parametrize("format", ["fp8", "int8"])
def test_an_input_has_a_scale_a_token_or_one_a_call_and_a_static_one_as_it_is(format):
    x = torch.from_numpy(rows(6, 40)).reshape(2, 3, 40)
    largest = float(VALUES[format][-1])
    values, scale = quantise_input(x, format, "row", None)
    assert torch.equal(scale, x.abs().amax(-1, keepdim=True) / largest) and scale.shape == (2, 3, 1)
    assert torch.equal(values.float().abs().amax(-1), torch.full((2, 3), largest))
    values, scale = quantise_input(x, format, "tensor", None)
    assert scale.shape == () and torch.equal(scale, x.abs().amax() / largest)
    assert quantise_input(x, format, "row", torch.tensor(0.5))[1] == 0.5


@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("group", [None, 16])
def test_a_weight_has_a_scale_an_output_row_and_group_of_columns(format, group):
    weight = torch.from_numpy(rows(12, 40))
    parts = [weight] if group is None else weight.split(group, dim=1)
    values, scale = quantise_weight(weight, format, group)
    expected = torch.stack([part.abs().amax(1) for part in parts], 1) / float(VALUES[format][-1])
    assert values.shape == weight.shape and torch.equal(scale, expected)
    rounded = torch.cat([round_to(part, format, dim=1) for part in parts], 1)
    assert torch.equal(round_weight(weight, format, group), rounded)


def test_weights_rounded_beforehand_have_the_scales_that_are_asked_for():
    module = tiny_bert().module
    for spec in (Precision("int8", "fail"), Precision("int8", "fail", weight_scales="group", group_size=32)):
        name = "encoder.layer.0.output.dense.weight"
        ours = spec.round_weights(module, "cpu").get_parameter(name)
        assert torch.equal(ours, round_weight(module.get_parameter(name), "int8", spec.group))


def test_the_packed_weight_of_the_cpu_s_kernel_holds_the_same_values_and_scales():
    layer = torch.nn.Linear(40, 12).requires_grad_(False)
    layer.weight.copy_(torch.from_numpy(rows(12, 40)))
    stored, bias = torch.ops.quantized.linear_unpack(packed(layer.weight, layer.bias))
    values, scale = quantise_weight(layer.weight, "int8")
    assert torch.equal(stored.int_repr(), values) and torch.equal(bias, layer.bias)
    assert stored.q_per_channel_scales().float().numpy() == pytest.approx(scale[:, 0].numpy(), rel=1e-6)


def test_the_cpu_s_int8_layer_is_off_by_the_steps_of_its_input_and_weights_alone():
    layer = torch.nn.Linear(256, 32).requires_grad_(False)
    x = torch.from_numpy(rows(64, 256))
    cast = DynamicInt8Linear(layer)
    twice = 2 if cast.seven_bits else 1
    step = twice * (x.max() - x.min()) / 255
    exact = torch.nn.functional.linear(x, round_weight(layer.weight, "int8"), layer.bias)
    bound = 0.51 * step * layer.weight.abs().sum(1)  # every input off by half a step, the same way
    assert ((cast(x) - exact).abs() <= 1.02 * bound).all()
    assert (cast(x) - exact).abs().mean() < 0.1 * bound.mean()


def test_what_a_format_promises_is_what_the_documents_say():
    assert BYTES == {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1}
    text = (ROOT / "docs" / "SOP.md").read_text("utf-8")
    told = dict(re.findall(r"(fp32|fp16|bf16|fp8|int8) (\d+e-\d|0\.\d)", text.partition("## The unit")[0]))
    assert {name: float(value) for name, value in told.items()} == TOLERANCE


@pytest.mark.parametrize(
    ("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_cast_is_to_the_dtype_of_its_name_and_the_record_says_the_same(name, dtype):
    module, record = Precision(name, "fail").cast(tiny_bert().module, "cpu")
    assert {p.dtype for p in module.parameters()} == {dtype}
    assert (record["format"], record["dtype"]) == (name, str(dtype).removeprefix("torch."))
