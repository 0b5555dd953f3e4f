"""Where the checks compute, and what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icd.errors import VerificationError
from icd.pipeline.checks import (
    CPU_WORK,
    check_device,
    check_round_trip,
    engine_check,
    equivalence,
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
