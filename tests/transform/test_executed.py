"""Executed eight-bit layers: the same arithmetic as the rounded ones, and the record counts what ran."""

import copy

import pytest
import torch
from torch import nn

from icd.errors import ConfigError
from icd.measure.simulate import Layer, linear_layers
from icd.transform import executed
from icd.transform.calibrate import attach_amax
from icd.transform.executed import DynamicInt8Linear, EightBitLinear, on_cpu, on_cuda
from icd.transform.quantize import Precision
from icd.transform.rounding import STORED, RoundedLinear, quantise, round_linears
from tests.tiny import mock, tiny_bert, tiny_mamba


def relative(a, b):
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def linear(inner=64, out=96, bias=True):
    torch.manual_seed(0)
    return nn.Linear(inner, out, bias=bias).requires_grad_(False)


def plain_scaled_mm(a, b, *, scale_a, scale_b, out_dtype, bias=None, use_fast_accum=False):
    """The plain twin of torch._scaled_mm: (m, k) by (k, n), scales (m, 1) and (1, n) or both ()."""
    out = (a.float() @ b.float()) * scale_a * scale_b
    return (out if bias is None else out + bias.float()).to(out_dtype)


@pytest.fixture(autouse=True)
def _scaled_mm_on_the_cpu(monkeypatch, request):
    """Older torch takes no row-wise scales on CPUs; the twin stands in there, and the scaling is tested."""
    if request.node.get_closest_marker("gpu"):
        return
    ones = torch.ones(16, 16).to(torch.float8_e4m3fn)
    scale = torch.ones(16, 1)
    try:
        torch._scaled_mm(ones, ones.t(), scale_a=scale, scale_b=scale.t(), out_dtype=torch.bfloat16)
    except (RuntimeError, NotImplementedError):
        monkeypatch.setattr(torch, "_scaled_mm", plain_scaled_mm)


@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("scales", ["row", "tensor"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(2, 24, 64), (3, 64)], ids=["48 rows", "3 rows"])
def test_the_kernel_gives_what_the_plain_twin_gives(format, scales, bias, shape):
    layer, x = linear(bias=bias), torch.randn(*shape)
    twin = RoundedLinear(layer, format, scales)(x)
    exact = EightBitLinear(layer, format, scales, torch.float32)
    assert relative(EightBitLinear(layer, format, scales, torch.bfloat16)(x), twin) < 2**-7
    if format == "int8":
        assert relative(exact(x), twin) < 1e-6
    assert relative(twin, layer(x)) < 0.1


@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("scales", ["row", "tensor", "static"])
@pytest.mark.parametrize("inner", [64, 80], ids=["whole groups", "a short last group"])
@pytest.mark.parametrize("bias", [True, False])
def test_groups_and_static_scales_give_what_the_plain_twin_gives(format, scales, inner, bias):
    layer, x, static = linear(inner, bias=bias), torch.randn(2, 24, inner), scales == "static"
    attach_amax(layer, {"": 3.0})
    given = "row" if static else scales
    twin = RoundedLinear(layer, format, given, 32, static)(x)
    ours = EightBitLinear(layer, format, given, torch.float32, 32, static)
    assert ours.scale.shape == (-(-inner // 32), 96) and ours.weight is None
    assert relative(ours(x), twin) < 1e-5
    plain = EightBitLinear(layer, format, given, torch.bfloat16, None, static)
    assert relative(plain(x), RoundedLinear(layer, format, given, None, static)(x)) < 2**-7


def test_int8_on_the_cpu_with_groups_runs_int_mm_and_says_so():
    workload = tiny_bert()
    precision = Precision("int8", "fail", weight_scales="group", group_size=32)
    module, record = precision.cast(workload.module, "cpu")
    assert record["layers"] == {"torch._int_mm": 12} and record["dtype"] == "int8"
    assert (record["weight_scales"], record["group_size"], record["calibration"]) == ("group", 32, "dynamic")
    assert record["scales"].startswith("weights one a row and group of 32 columns, in the arm's layout; ")
    simulated, _ = round_linears(copy.deepcopy(workload.module), "int8", "row", 32)
    expected = workload.forward(simulated, workload.inputs)
    assert relative(workload.forward(module, workload.inputs), expected) < 1e-2


@pytest.mark.parametrize("format", ["fp8", "int8"])
def test_layers_keep_their_rounding_when_the_rest_becomes_bf16_and_odd_shapes_stay(format):
    module = nn.Sequential(linear(64, 96), nn.LayerNorm(96), linear(96, 40), linear(40, 64))
    expected = quantise(module[0].weight, format, dim=1)
    cast, layers = on_cuda(module, format, "row", torch.bfloat16)
    assert layers == {executed.KERNELS[format]: 1, "bfloat16": 2}
    assert cast[0].weight.dtype == STORED[format]
    assert torch.equal(cast[0].weight.float(), expected[0].float())
    assert cast[0].scale.dtype == torch.float32 and torch.equal(cast[0].scale[0], expected[1][:, 0])
    assert cast[2].weight.dtype == torch.bfloat16 and cast[1].weight.dtype == torch.bfloat16
    assert cast(torch.randn(32, 64, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_torchs_dynamic_int8_runs_on_the_cpu_and_is_close_to_the_layer():
    layer, x = linear(), torch.randn(2, 24, 64)
    assert relative(DynamicInt8Linear(layer)(x), layer(x)) < 0.05
    assert relative(DynamicInt8Linear(linear(bias=False))(x), linear(bias=False)(x)) < 0.05


def test_inputs_lose_a_bit_only_where_sums_would_saturate(monkeypatch):
    layer, x, here = linear(), torch.randn(64, 64), executed.saturates()
    errors, names = [], []
    for saturating in (False, True):
        monkeypatch.setattr(executed, "saturates", lambda saturating=saturating: saturating)
        module, layers = executed.on_cpu(torch.nn.Sequential(copy.deepcopy(layer)))
        names += layers
        errors.append(relative(module(x), layer(x)))
    assert names[1] == names[0].replace(")", ", 7-bit inputs)")
    assert here or errors[0] < 0.7 * errors[1]  # eight bits are right where nothing saturates


def test_int8_on_the_cpu_is_executed_and_the_record_names_kernel_and_layers():
    workload = tiny_bert()
    precision = Precision("int8", "fail")
    module, record = precision.cast(workload.module, "cpu")
    assert precision.executes("cpu") and record["source"] == "measured" and record["dtype"] == "int8"
    ((kernel, count),) = record["layers"].items()
    assert kernel.startswith("quantized::linear_dynamic (") and count == 12
    assert record["scales_reason"] == "torch's dynamic int8 on a CPU has one input scale a call"
    assert "layers_reason" not in record
    reference = workload.forward(workload.module, workload.inputs)
    with torch.inference_mode():
        error = relative(workload.forward(module, workload.inputs), reference)
    assert 0 < error < precision.tolerance("cpu")


def test_the_simulator_sees_the_layers_in_every_precision():
    workload = mock(layers=1).build()
    plain = linear_layers(workload.module)
    assert plain == [Layer(256, 64), Layer(64, 256)]
    for name in ("fp8", "int8"):
        assert linear_layers(Precision(name, "simulate").cast(workload.module, "cpu")[0]) == plain


def test_a_layer_on_the_cpu_is_replaced_wherever_it_lies():
    cast, layers = on_cpu(nn.Sequential(nn.Sequential(linear()), nn.ReLU()))
    assert isinstance(cast[0][0], DynamicInt8Linear) and sum(layers.values()) == 1


def test_the_record_says_why_a_layer_keeps_its_precision():
    precision = Precision("int8", "fail", weight_scales="group", group_size=16)
    _, record = precision.cast(tiny_mamba().module, "cpu")  # its time steps have a rank of 8
    assert record["layers"]["float32"] == 4 and sum(record["layers"].values()) == 8
    assert record["layers_reason"].startswith("float32: widths that are no multiple of 16, or ")
    assert "scales_reason" not in record


@pytest.mark.parametrize("name", ["fp8", "int8"])
def test_a_layer_with_two_names_is_replaced_under_both_and_counted_once(name):
    shared = linear(64, 64)
    module = nn.Sequential(shared, nn.ReLU(), shared)
    cast, record = Precision(name, "simulate").cast(module, "cpu")
    assert cast[0] is cast[2] and type(cast[0]) is not nn.Linear
    assert list(record["layers"].values()) == [1]


@pytest.mark.parametrize("name", ["fp8", "int8"])
def test_a_forward_that_reads_a_weight_by_itself_is_refused_and_classes_of_linear_stay(name):
    layer = nn.TransformerEncoderLayer(64, 4, 128, batch_first=True).eval().requires_grad_(False)
    cast, record = Precision(name, "simulate").cast(layer, "cpu")
    assert record["layers"].pop("float32") == 1 and list(record["layers"].values()) == [2]
    assert isinstance(cast.self_attn.out_proj, nn.Linear)
    sentence = (
        f"precision={name}: the model's forward reads the weight of a linear layer instead of calling it"
    )
    with pytest.raises(ConfigError, match=sentence):
        cast(torch.randn(1, 4, 64))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("scales", ["row", "tensor"])
@pytest.mark.parametrize("rows", [3, 128, 1000])
@pytest.mark.parametrize(("group", "static"), [(None, False), (None, True), (128, False), (160, True)])
def test_on_a_gpu_the_compiled_and_captured_layer_gives_what_the_plain_twin_gives(
    format, scales, rows, group, static
):
    torch._dynamo.reset()  # more cases than one function may be compiled for
    layer = linear(768, 3072).cuda()
    attach_amax(layer, {"": 4.0})
    x = torch.randn(rows, 768, device="cuda", dtype=torch.bfloat16)
    twin = RoundedLinear(layer, format, scales, group, static)(x.float())
    cast = EightBitLinear(layer, format, scales, torch.bfloat16, group, static)
    assert relative(cast(x), twin) < 2**-6
    compiled = torch.compile(cast, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        for _ in range(3):
            compiled(x)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = compiled(x)
        graph.replay()
    torch.cuda.synchronize()
    assert relative(out, twin) < 2**-6


@pytest.mark.parametrize("format", ["fp8", "int8"])
@pytest.mark.parametrize("rows", [3, 48])
@pytest.mark.parametrize("group", [None, 32])
def test_a_forward_is_one_graph(format, rows, group):
    cast = EightBitLinear(linear(), format, "row", torch.bfloat16, group)
    x = torch.randn(rows, 64, dtype=torch.bfloat16)
    compiled = torch.compile(cast, fullgraph=True, dynamic=False, backend="eager")
    assert torch.equal(compiled(x), cast(x))
