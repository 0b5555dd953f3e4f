"""Precision: what is executed is said, what is simulated is rounded to the format's own values."""

import pytest
import torch

from icd.errors import ConfigError, MissingResource
from icd.transform.quantize import Precision
from icd.transform.rounding import RoundedLinear, round_to, round_weight
from tests.tiny import tiny_bert


def test_auto_is_fp32_on_a_cpu_and_bf16_on_a_gpu():
    precision = Precision("auto", "simulate")
    assert (precision.resolve("cpu"), precision.resolve("cuda:0")) == ("fp32", "bf16")
    assert (precision.element_bytes("cpu"), precision.element_bytes("cuda:0")) == (4, 2)


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_an_executed_precision_casts_a_copy_and_says_so(name, dtype):
    workload = tiny_bert()
    module, record = Precision(name, "fail").cast(workload.module, "cpu")
    assert next(module.parameters()).dtype == dtype and record["source"] == "measured"
    assert next(workload.module.parameters()).dtype == torch.float32


def test_a_precision_that_is_not_executed_is_simulated_and_says_why():
    precision = Precision("fp8", "simulate")
    module, record = precision.cast(tiny_bert().module, "cpu")
    assert not precision.executes("cpu") and "CPUs multiply no fp8" in record["reason"]
    assert record["source"] == "simulated" and record["dtype"] == "float32"
    rounded = [m for m in module.modules() if isinstance(m, RoundedLinear)]
    assert len(rounded) == 12 and not any(isinstance(m, torch.nn.Linear) for m in module.modules())


def test_a_precision_that_cannot_run_is_refused_before_anything_is_built():
    with pytest.raises(
        MissingResource, match=r"precision=fp8 cannot be executed on cpu .* on_missing=simulate"
    ):
        Precision("fp8", "fail").check("cpu")
    Precision("fp8", "simulate").check("cpu")
    Precision("auto", "fail").check("cpu")


def test_on_missing_fail_refuses_to_simulate():
    with pytest.raises(MissingResource, match="on_missing=simulate"):
        Precision("fp8", "fail").cast(tiny_bert().module, "cpu")


def test_int8_without_a_quantized_engine_is_simulated_with_that_reason(monkeypatch):
    monkeypatch.setattr("icd.transform.executed.engine", lambda: "none")
    _, record = Precision("int8", "simulate").cast(tiny_bert().module, "cpu")
    assert record["source"] == "simulated" and "quantized engine" in record["reason"]


def test_a_group_scale_holds_for_its_columns_alone_and_so_depends_on_the_layout():
    weight = torch.randn(8, 64)
    weight[:, 40] *= 50
    rounded = round_weight(weight, "int8", 32)
    assert torch.equal(rounded[:, :32], round_to(weight[:, :32], "int8", dim=1))
    assert torch.equal(rounded[:, 32:], round_to(weight[:, 32:], "int8", dim=1))
    apart = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(round_weight(weight[:, apart], "int8", 32), rounded[:, apart])
    assert torch.equal(round_weight(weight[:, apart], "int8"), round_weight(weight, "int8")[:, apart])


def test_a_group_that_no_kernel_takes_is_refused():
    for size in (24, 0, -16):
        with pytest.raises(ConfigError, match=rf"group_size={size}: expected 16 or more, a multiple of 16"):
            Precision("int8", "simulate", weight_scales="group", group_size=size)


def test_int8_values_are_at_most_255_levels_of_one_scale():
    x = torch.randn(4, 1000)
    steps = round_to(x, "int8", dim=None) / (x.abs().max() / 127)
    assert torch.allclose(steps, steps.round(), atol=1e-3) and steps.abs().max() <= 127.001


def test_fp8_keeps_three_bits_of_mantissa():
    x = torch.randn(64, 64)
    error = ((round_to(x, "fp8", dim=1) - x).abs() / x.abs())[x.abs() > 0.1]
    assert 0.01 < error.max() <= 2**-4 + 1e-6  # round to nearest: half a unit in the last place


def test_the_scale_of_a_row_does_not_depend_on_other_rows():
    x = torch.randn(2, 32)
    big = x.clone()
    big[1] *= 1000
    assert torch.equal(round_to(x, "int8", dim=1)[0], round_to(big, "int8", dim=1)[0])
