"""Every scan computes what the definition says."""

import os
import subprocess
import sys

import pytest
import torch

from icd.errors import ConfigError, MissingResource
from icd.model import scan as scans
from icd.model.scan import check_installed, check_scan, chunked, executed_scan, load, reference
from icd.pipeline.checks import relative_error
from tests.conftest import ROOT

SHAPES = [(1, 1, 8, 16), (2, 7, 24, 16), (2, 37, 40, 8), (1, 70, 20, 16)]


def arguments(batch, length, width, state, dtype=torch.float32, device="cpu"):
    generator = torch.Generator().manual_seed(length)

    def draw(*shape):
        return torch.randn(*shape, generator=generator).to(device, dtype)

    A = torch.arange(1.0, state + 1).repeat(width, 1) * (1 + torch.rand(width, 1, generator=generator))
    z = draw(batch, length, 2 * width)[..., width:]  # a view, as the model hands it over
    u, dt = draw(batch, length, width), draw(batch, length, width) * 3 - 2
    B, C, D, bias = draw(batch, length, state), draw(batch, length, state), draw(width), draw(width)
    return u, dt, A.log().to(device, dtype), B, C, D, z, bias


def test_a_bias_is_part_of_the_step_sizes():
    u, dt, *others, bias = arguments(2, 9, 24, 16)
    for scan in (chunked.scan, reference.scan):
        added = scan(u, dt + bias, *others, None)
        assert relative_error(scan(u, dt, *others, bias), added) < 1e-6
        assert relative_error(scan(u, dt, *others, None), added) > 1e-3


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("elements", [1, 1 << 18], ids=["many chunks", "few chunks"])
def test_chunked_is_the_definition(shape, elements, monkeypatch):
    monkeypatch.setattr(chunked, "ELEMENTS", elements)
    given = arguments(*shape)
    assert relative_error(chunked.scan(*given), reference.scan(*given)) < 1e-5


def test_chunked_survives_decays_that_underflow():
    u, dt, A_log, *others = arguments(2, 40, 8, 16)
    given = (u, dt + 30, A_log + 4.6, *others)
    out = chunked.scan(*given)
    assert out.isfinite().all() and relative_error(out, reference.scan(*given)) < 1e-5


def test_compiling_does_not_unroll_time():
    nodes = []

    def count(module, inputs):
        nodes.append(len(module.graph.nodes))
        return module

    given = arguments(1, 200, 8, 16)
    compiled = torch.compile(lambda *a: chunked.scan(*a) + 1, backend=count, fullgraph=True)
    with torch.inference_mode():
        assert relative_error(compiled(*given), chunked.scan(*given) + 1) < 1e-6
    assert len(nodes) == 1 and nodes[0] < 20


def test_in_double_the_state_is_double():
    given = [x.double() for x in arguments(2, 37, 24, 16)]
    assert chunked.scan(*given).dtype == torch.float64
    assert relative_error(chunked.scan(*given), reference.scan(*given)) < 1e-13


def test_bf16_inputs_keep_a_float32_state():
    given = arguments(2, 37, 24, 16, torch.bfloat16)
    exact = reference.scan(*(x.double() for x in given))
    for scan in (chunked.scan, reference.scan):
        out = scan(*given)
        assert out.dtype == torch.bfloat16 and relative_error(out, exact) < 4e-3


@pytest.mark.parametrize("whole", ["SHAPES[:2]", pytest.param("SHAPES", marks=pytest.mark.slow)])
def test_the_triton_kernel_is_the_definition_in_the_interpreter(whole):
    pytest.importorskip("triton")
    code = (
        "from tests.model.scan.test_scans import *\n"
        "from icd.model.scan import tiled\n"
        "scan = load('triton')\n"
        f"cuts = ((1, 2, {whole}), (24, 2, ((2, 21, 40, 8), (1, 64, 32, 4))), (4000, 0, ((2, 33, 33, 3),)))\n"
        "for tiled.RESIDENT, tiled.MERGE, shapes in cuts:\n"  # whole, segments, too many of them
        "    for shape in shapes:\n"
        "        given = arguments(*shape)\n"
        "        assert relative_error(scan(*given), reference.scan(*given)) < 1e-5, shape\n"
        "tiled.RESIDENT, tiled.MERGE = 24, 2\n"
        "assert tiled.steps_of_a_segment(3, 70, 1) == 16\n"
        "for kind in (torch.bfloat16, torch.float16):\n"
        "    given = list(arguments(1, 11, 24, 16, kind))\n"
        "    assert tiled.values_a_word(*given[3:5]) == 4\n"
        "    assert relative_error(scan(*given), reference.scan(*given)) < 1e-2\n"
        "    given[3] = torch.nn.functional.pad(given[3], (1, 2))[..., 1:17]\n"  # no whole words
        "    assert tiled.values_a_word(*given[3:5]) == 1\n"
        "    assert relative_error(scan(*given), reference.scan(*given)) < 1e-2\n"
        "given = list(arguments(2, 11, 40, 16))\n"
        "given[4] = torch.nn.functional.pad(given[4], (2, 4))[..., 2:18]\n"  # C has strides of its own
        "assert relative_error(scan(*given), reference.scan(*given)) < 1e-5\n"
        "turned = [x if x.ndim < 3 else x.transpose(1, 2).contiguous().transpose(1, 2) for x in given]\n"
        "assert relative_error(scan(*turned), reference.scan(*given)) < 1e-5\n"
        "given = (*arguments(2, 11, 40, 16)[:-1], None)\n"
        "assert relative_error(scan(*given), reference.scan(*given)) < 1e-5\n"
        "given = arguments(1, 7, 24, 16)\n"
        "whole = torch.compile(lambda *a: load('triton')(*a) + 1, fullgraph=True, backend='aot_eager')\n"
        "with torch.inference_mode():\n"
        "    assert relative_error(whole(*given), reference.scan(*given) + 1) < 1e-5\n"
    )
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("rows", "first", "state", "words"),
    [(20, 0, 16, 4), (20, 4, 16, 4), (20, 1, 16, 1), (20, 2, 16, 1), (22, 0, 16, 1), (20, 0, 6, 1)],
    ids=["whole", "a word further", "off by one", "off by two", "odd rows", "odd states"],
)
def test_words_are_fetched_only_where_every_row_lies_on_one(rows, first, state, words):
    """A GPU refuses others; Triton's interpreter does not."""
    pytest.importorskip("triton")
    from icd.model.scan.tiled import values_a_word

    B = torch.zeros(2, 8, rows, dtype=torch.bfloat16)[..., first : first + state]
    whole = torch.zeros(2, 8, state + state % 4, dtype=torch.bfloat16)[..., :state]
    assert values_a_word(B, whole) == values_a_word(whole, B) == words
    assert values_a_word(B, whole.float()) == 1


@pytest.mark.parametrize("length", [1, 4, 7, 8, 12, 16, 20, 4096])
def test_only_lengths_of_whole_turns_are_written_without_a_mask(length, monkeypatch):
    """Steps behind the last would be written into the next sequence, or behind the tensor."""
    pytest.importorskip("triton")
    from icd.model.scan import tiled

    asked = []

    class Walk:
        def __getitem__(self, grid):
            return lambda *given, **flags: asked.append((grid, flags["ENDS"], flags["WHOLE"]))

    monkeypatch.setattr(tiled, "walk", Walk())
    tiled.scan(*arguments(2, length, 40, 16))
    assert {whole for *_, whole in asked} == {length % 8 == 0}
    assert [ends for _, ends, _ in asked] == ([True, False] if asked[-1][0][2] > 1 else [False])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["triton", "mamba_ssm"])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 256, 1536, 16)])
def test_the_kernels_on_a_gpu_are_the_definition(name, shape):
    if name == "mamba_ssm":
        pytest.importorskip("mamba_ssm")
    torch._dynamo.reset()  # every case compiles the same code for another shape
    scan, given = load(name), arguments(*shape, device="cuda")
    assert relative_error(scan(*given), reference.scan(*given)) < 1e-5
    compiled = torch.compile(lambda *a: scan(*a) + 1, fullgraph=True, dynamic=False)
    assert relative_error(compiled(*given), reference.scan(*given) + 1) < 1e-5


def test_what_runs_where_is_said():
    assert executed_scan("auto", "cpu") == "chunked" and executed_scan("auto", "cuda:0") == "triton"
    assert executed_scan("triton", "cpu") == "chunked" and executed_scan("mamba_ssm", "cuda") == "mamba_ssm"
    assert executed_scan("auto", "cuda", double=True) == "chunked"  # the kernels' state is float32
    assert executed_scan("reference", "cuda") == "reference" == executed_scan("reference", "cpu")


def test_an_unknown_scan_and_a_missing_package_get_a_sentence(monkeypatch):
    with pytest.raises(ConfigError, match=r"model\.scan='fast': expected one of auto, reference"):
        check_scan("fast")
    monkeypatch.setattr(scans, "find_spec", lambda name: None)
    with pytest.raises(MissingResource, match="needs the package mamba_ssm, which is not installed"):
        check_installed("mamba_ssm")
    check_installed("auto")


def test_no_shape_alignment_or_stride_compiles_the_kernel_again():
    """Layers of a compacted model differ in all of them. Asks Triton what it would compile for."""
    pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import make_backend
    from triton.runtime.jit import create_function_from_signature

    from icd.model.scan.walk import walk

    backend = make_backend(GPUTarget("cuda", 90, 32))
    compiled_for = create_function_from_signature(walk.signature, walk.params, backend)
    flags = {n: 1 for n in walk.arg_names if n.isupper()}

    def key(width, length, offset=0, dtype=torch.bfloat16):
        view = torch.zeros(length, width + offset, dtype=dtype)[:, offset:]
        numbers = [width if n == "width" else length for n in walk.arg_names[11:] if not n.isupper()]
        return compiled_for(*[view] * 11, *numbers, **flags)[1]

    first = key(5120, 64)
    assert first == key(96, 1) == key(33, 7, offset=1) == key(1, 16, offset=3)
    assert first != key(5120, 64, dtype=torch.float16)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_other_shapes_use_the_compiled_kernels():
    from icd.model.scan.walk import walk

    def compiled():
        return sum(len(caches[0]) for caches in walk.device_caches.values())

    scan = load("triton")
    scan(*arguments(1, 2048, 5120, 16, torch.bfloat16, "cuda"))  # both passes
    before = compiled()
    for shape in ((1, 2048, 4896, 16), (2, 512, 416, 16), (3, 120, 33, 16)):
        given = arguments(*shape, torch.bfloat16, "cuda")
        exact = reference.scan(*(x.double() for x in given))
        assert relative_error(scan(*given), exact) < 1e-2, shape
    assert compiled() == before >= 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_triton_kernel_can_be_captured():
    scan, given = load("triton"), arguments(1, 256, 96, 16, torch.bfloat16, "cuda")
    expected = scan(*given)  # compiled before
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = scan(*given)
    graph.replay()
    assert torch.equal(out, expected)


@pytest.mark.slow
def test_the_walk_keeps_its_states_in_registers():
    """Compiled for Hopper, without one: shared memory would mean that threads exchange states every step."""
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from icd.model.scan.tiled import CHANNELS, UNROLL
    from icd.model.scan.walk import walk

    kinds = {"end_ptr": "*fp32", "sum_ptr": "*fp32"}
    kinds |= dict.fromkeys(("a_ptr", "d_ptr", "bias_ptr"), "*bf16")
    kinds |= dict.fromkeys(("u_ptr", "dt_ptr", "b_ptr", "c_ptr", "z_ptr", "y_ptr"), "*bf16")
    signature = {n: kinds.get(n, "constexpr" if n.isupper() else "i32") for n in walk.arg_names}
    given = {"STATE": 16, "PER": 4, "CHANNELS": CHANNELS, "UNROLL": UNROLL, "FLUSH": True, "BIAS": True}
    for whole, ends in ((True, False), (True, True), (False, False)):
        source = ASTSource(walk, signature, constexprs=given | {"ENDS": ends, "WHOLE": whole})
        built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1})
        ptx = built.asm["ptx"]
        assert built.metadata.shared == 0 and "ex2.approx.ftz.f32" in ptx, (whole, ends)
        assert "shfl" not in ptx and "bar.sync" not in ptx, (whole, ends)
