"""Where the checks compute, and what they say."""

from dataclasses import replace

import pytest
import torch

from icd.errors import VerificationError
from icd.pipeline.checks import CPU_WORK, check_device, engine_check, equivalence
from icd.runtime.masked import Masked
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
