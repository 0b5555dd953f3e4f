"""Where the checks compute, and what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from icd.errors import VerificationError
from icd.pipeline.checks import (
    CPU_WORK,
    check_device,
    check_round_trip,
    engine_check,
    equivalence,
    in_double,
    relative_error,
)
from icd.runtime.masked import Masked
from icd.transform.permute import permute
from icd.transform.quantize import Precision
from tests.tiny import tiny_mamba

FP32 = Precision("fp32", "fail")


def large(workload):
    return replace(workload, card=replace(workload.card, params=int(2 * CPU_WORK / workload.tokens)))


def test_checks_run_on_the_cpu_but_for_a_large_model_that_fits_on_the_gpu(monkeypatch):
    small = tiny_mamba()
    big, free = large(small), 10**18
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, free))
    assert check_device(small, "cuda:0") == "cpu" == check_device(big, "cpu")
    assert check_device(big, "cuda:0") == "cuda:0"
    free = 3 * 8 * big.card.params
    assert check_device(big, "cuda:0") == "cpu"


def test_elsewhere_the_reference_is_in_double_and_the_record_says_so():
    workload = tiny_mamba()
    step = Masked(64, 64).prepare(workload, FP32, "cpu")
    here = engine_check("linear", step, workload, workload.inputs, 1e-4)
    there = engine_check("linear", step, workload, workload.inputs, 1e-4, "cpu:0")
    assert here["reference"] == "float32 on cpu" and there["reference"] == "float64 on cpu:0"
    assert here["max_rel_err"] < 1e-6 and 0 < there["max_rel_err"] < 1e-4
    assert next(workload.module.parameters()).dtype == torch.float32  # a copy was made double
    assert equivalence(workload, {}, "cpu:0")["device"] == "cpu:0"


class Moves(TorchDispatchMode):
    """Of every tensor that changes its device: whether it changes its dtype on the way."""

    def __init__(self):
        super().__init__()
        self.widened = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if (kwargs or {}).get("device") is not None and func.overloadpacket.__name__ == "_to_copy":
            self.widened.append(kwargs.get("dtype") not in (None, args[0].dtype))
        return func(*args, **(kwargs or {}))


def test_weights_travel_as_they_are_and_are_widened_where_they_lie():
    workload = tiny_mamba()
    with Moves() as moves:
        double, inputs = in_double(workload, workload.inputs, "meta")
    tensors = [*double.module.parameters(), *double.module.buffers()]
    assert {(x.device.type, x.dtype) for x in tensors} == {("meta", torch.float64)}
    assert moves.widened == [False] * (len(tensors) + len(inputs))
    assert inputs["input_ids"].dtype == workload.inputs["input_ids"].dtype


def test_the_copy_in_double_shares_nothing_and_keeps_what_is_tied():
    workload = tiny_mamba()
    module = workload.module
    module.register_buffer("ids", torch.arange(3))
    module.tied = torch.nn.Linear(1, 1)
    module.tied.weight = module.embeddings.weight
    copied = in_double(workload, {}, "cpu")[0].module
    assert copied.tied.weight is copied.embeddings.weight and isinstance(
        copied.tied.weight, torch.nn.Parameter
    )
    copied.ids += 1
    copied.embeddings.weight.zero_()
    assert module.ids.tolist() == [0, 1, 2] and module.embeddings.weight.abs().sum() > 0
    assert [n for n, _ in copied.named_parameters()] == [n for n, _ in module.named_parameters()]


def test_a_wrong_step_is_refused_with_the_reference_it_was_held_against():
    workload = tiny_mamba()
    step = Masked(64, 64).prepare(workload, FP32, "cpu")
    wrong = replace(step, replay=lambda: None, output=step() * 1.01)
    with pytest.raises(VerificationError, match=r"masked model \(float64 on cpu:0\) by 0\.01"):
        engine_check("linear", wrong, workload, workload.inputs, 1e-4, "cpu:0")


def test_an_output_that_is_no_number_is_infinitely_wrong():
    good = torch.ones(3)
    bad = torch.tensor([1.0, float("nan"), 1.0])
    assert relative_error(bad, good) == float("inf") == relative_error(good, bad)
    workload = tiny_mamba()
    step = Masked(64, 64).prepare(workload, FP32, "cpu")
    nan = replace(step, replay=lambda: None, output=step() * float("nan"))
    with pytest.raises(VerificationError, match="by inf of the largest output"):
        engine_check("linear", nan, workload, workload.inputs, 1e-4)


def test_a_layout_that_is_not_undone_bit_for_bit_is_refused():
    workload = tiny_mamba()
    layouts = {site.name: np.roll(np.arange(site.size), 3).astype(np.int32) for site in workload.sites}
    check_round_trip(workload, permute(workload, layouts), "rolled")
    touched = permute(workload, layouts)
    touched.module.layers[1].mixer.D.data[0] += 1e-6
    with pytest.raises(
        VerificationError, match=r"'rolled' .* do not restore layers\.1\.mixer\.D bit for bit"
    ):
        check_round_trip(workload, touched, "rolled")
