"""Static scales: what is collected, where it goes, and what happens without calibration inputs."""

import copy
import dataclasses

import pytest
import torch
from torch import nn

from icd.errors import ConfigError
from icd.pipeline.checks import relative_error
from icd.runtime.compact import Compact
from icd.transform.calibrate import amax_of, attach_amax, collect_amax
from icd.transform.channel import Channel
from icd.transform.executed import EightBitLinear
from icd.transform.quantize import Precision
from icd.transform.rounding import RoundedLinear
from tests.tiny import tiny_bert

STATIC = Precision("int8", "fail", calibration="static")


def test_the_largest_input_of_every_linear_layer_is_collected_over_all_batches():
    workload = tiny_bert()
    found = collect_amax(workload)
    linears = {n: m for n, m in workload.module.named_modules() if isinstance(m, nn.Linear)}
    assert set(found) == set(linears)
    seen = []
    hook = linears["encoder.layer.1.output.dense"].register_forward_pre_hook(
        lambda _, args: seen.append(float(args[0].abs().max()))
    )
    for batch in workload.calibration:
        workload.forward(workload.module, batch)
    hook.remove()
    assert len(seen) == 2 and found["encoder.layer.1.output.dense"] == max(seen)


@pytest.mark.parametrize("batches", [([-7.0, 1.0], [2.0, 3.0]), ([2.0, 3.0], [-7.0, 1.0])])
def test_the_largest_magnitude_counts_whatever_its_sign_and_batch(batches):
    module = nn.Sequential(nn.Linear(2, 2))
    inputs = tuple({"x": torch.tensor([batch])} for batch in batches)
    workload = dataclasses.replace(
        tiny_bert(), module=module, forward=lambda m, given: m(given["x"]), calibration=inputs
    )
    assert collect_amax(workload) == {"0": 7.0}


def test_scales_travel_through_engine_and_fusion_to_the_executed_layers():
    workload = Channel(0.5, "magnitude", ["heads", "neurons"], 0).apply(tiny_bert(), None)
    found = collect_amax(workload)
    attach_amax(workload.module, found)
    step = Compact(16, 16).prepare(workload, STATIC, "cpu")
    attention = step.module.encoder.layer[1].attention
    for layer, name in ((attention.self.qkv, "attention.self.key"), (attention.output.dense, None)):
        path = f"encoder.layer.1.{name or 'attention.output.dense'}"
        assert isinstance(layer, EightBitLinear) and layer.weight.dtype == torch.int8
        assert float(layer.input_scale) == pytest.approx(found[path] / 127)
    assert step.executed["calibration"] == "static" and "one a layer, static" in step.executed["scales"]
    expected = workload.forward(workload.module, workload.inputs)
    assert 0 < relative_error(step(), expected) < STATIC.tolerance("cpu")


@pytest.mark.parametrize("make", [RoundedLinear, EightBitLinear])
def test_a_static_scale_does_not_look_at_the_input_and_clips_what_is_larger(make):
    torch.manual_seed(0)
    linear = nn.Linear(64, 32, bias=False).requires_grad_(False)
    attach_amax(linear, {"": 1.0})
    extra = (torch.float32,) if make is EightBitLinear else ()
    layer = make(linear, "int8", "row", *extra, static=True)
    x = torch.rand(8, 64)
    loud = x.clone()
    loud[0, 0] = 100.0
    clipped = x.clone()
    clipped[0, 0] = 1.0
    assert torch.allclose(layer(loud), layer(clipped), atol=1e-5)
    assert torch.equal(layer(loud)[1:], layer(x)[1:])


def test_without_calibration_inputs_one_sentence_says_what_to_use():
    bare = dataclasses.replace(tiny_bert(), calibration=())
    with pytest.raises(
        ConfigError, match=r"model=tiny \(random weights\) has none; use precision.calibration"
    ):
        collect_amax(bare)
    with pytest.raises(ConfigError, match="no input scale from calibration"):
        STATIC.cast(copy.deepcopy(bare.module), "cpu")


def test_a_layer_that_calibration_never_reaches_is_named():
    workload = tiny_bert()
    workload.module.unused = nn.Linear(4, 4)
    with pytest.raises(ConfigError, match="never reach unused"):
        collect_amax(workload)


def test_buffers_of_calibration_are_no_weights():
    linear = nn.Linear(4, 4)
    attach_amax(linear, {"": 2.0})
    assert set(linear.state_dict()) == {"weight", "bias"} and float(amax_of(linear)) == 2.0


def test_only_eight_bits_need_calibration():
    assert STATIC.needs_calibration("cpu")
    assert not dataclasses.replace(STATIC, format="bf16").needs_calibration("cpu")
    assert not Precision("int8", "fail").needs_calibration("cpu")
