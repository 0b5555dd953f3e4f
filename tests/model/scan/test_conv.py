"""The convolution's kernel gives what its plain twin gives."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

from icd.model.scan import load_conv
from icd.model.scan.conv import causal_conv
from icd.pipeline.checks import relative_error
from tests.conftest import ROOT

SHAPES = [(1, 1, 8, 4), (2, 37, 40, 4), (3, 70, 130, 3)]


def arguments(batch, length, width, taps, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(batch, length, 2 * width, generator=generator)[..., :width]  # half of a projection
    weight, bias = torch.randn(width, 1, taps, generator=generator), torch.randn(width, generator=generator)
    return [a.to(device, dtype) for a in (x, weight, bias)]


def test_the_kernel_runs_beside_both_scans_that_are_kernels():
    pytest.importorskip("triton")
    assert load_conv("mamba_ssm") is load_conv("triton") is not load_conv("chunked")
    assert load_conv("chunked") is load_conv("reference") is causal_conv


@pytest.mark.parametrize("shape", SHAPES)
def test_the_plain_twin_is_the_librarys_convolution(shape):
    x, weight, bias = arguments(*shape)
    taps = weight.shape[-1]
    whole = F.conv1d(x.transpose(1, 2), weight, bias, padding=taps - 1, groups=x.shape[-1])
    expected = F.silu(whole[..., : x.shape[1]].transpose(1, 2))
    assert relative_error(causal_conv(x, weight, bias), expected) < 1e-6


def test_the_kernel_is_its_plain_twin_in_the_interpreter():
    pytest.importorskip("triton")
    code = (
        "from tests.model.scan.test_conv import *\n"
        "kernel = load_conv('triton')\n"
        "for shape in SHAPES:\n"
        "    x, weight, bias = arguments(*shape)\n"
        "    assert relative_error(kernel(x, weight, bias), causal_conv(x, weight, bias)) < 1e-6, shape\n"
        "    assert relative_error(kernel(x, weight, None), causal_conv(x, weight, None)) < 1e-6, shape\n"
        "turned = [a.transpose(0, -1).contiguous().transpose(0, -1) for a in (x, weight)]\n"
        "assert relative_error(kernel(*turned, bias), causal_conv(x, weight, bias)) < 1e-6\n"
        "x, weight, bias = arguments(1, 67, 8, 4, torch.bfloat16)\n"
        "apart = torch.empty(67 << 25, dtype=x.dtype).as_strided(x.shape, (67 << 25, 1 << 25, 1))\n"
        "apart.copy_(x)\n"  # of 4 GB that nobody touches: a long sequence's last rows lie beyond 32 bits
        "assert relative_error(kernel(apart, weight, bias), causal_conv(x, weight, bias)) < 1e-2\n"
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 256, 1536, 4)])
def test_the_kernel_on_a_gpu_is_its_plain_twin(shape, dtype):
    given = arguments(*shape, dtype=dtype, device="cuda")
    exact = causal_conv(*(a.double() for a in given))
    assert relative_error(load_conv("triton")(*given), exact) < (1e-6 if dtype == torch.float32 else 1e-2)
