"""What a failed compilation or capture is told by."""

from __future__ import annotations

import collections
import dataclasses

import pytest
import torch
from torch import nn

from icd.errors import MeasurementError
from icd.pipeline.checks import relative_error
from icd.runtime.accelerate import capture, compile_layers, compile_now, compiled_units
from icd.runtime.compact import Compact
from icd.transform.quantize import Precision
from tests.tiny import mock, tiny_bert, tiny_mamba


class Graph:
    """Stands for torch.cuda.graph: leaving it after a failure fails as well."""

    def __init__(self, graph, pool=None):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if error[0] is not None:
            raise RuntimeError("the capture was invalidated")


class Stream:
    def wait_stream(self, other):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@pytest.fixture
def cuda(monkeypatch):
    for name, fake in {
        "Stream": Stream,
        "stream": lambda stream: stream,
        "current_stream": Stream,
        "CUDAGraph": object,
        "graph": Graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)


@pytest.mark.parametrize(
    ("cause", "told"),
    [
        (RuntimeError("operation not permitted\nwhen capturing"), "operation not permitted"),
        (KeyError(), "KeyError"),
    ],
)
def test_a_failed_capture_is_told_by_what_failed_first(cuda, cause, told):
    calls = []

    def forward():
        calls.append(1)
        if len(calls) > 3:  # the warm-up passes
            raise cause
        return torch.zeros(1)

    with pytest.raises(MeasurementError, match=rf"capture failed \({told}\); runtime.cuda_graph=false"):
        capture(forward)


@pytest.mark.parametrize(("said", "told"), [("no graph\nbecause", "no graph"), ("", "Unsupported")])
def test_a_failed_compilation_is_told_in_a_line(said, told):
    def forward():
        error = torch._dynamo.exc.Unsupported.__new__(torch._dynamo.exc.Unsupported)
        error.args = (said,)
        raise error

    with pytest.raises(MeasurementError, match=rf"torch.compile failed \(Unsupported: {told}\)"):
        compile_now(forward)


@pytest.fixture
def graphs(monkeypatch):
    """What is compiled, as operators' names, one list a graph; they run as they were traced."""
    torch._dynamo.reset()
    monkeypatch.setitem(torch._dynamo.utils.counters, "stats", collections.Counter())
    found = []

    def traced(graph, inputs, **others):
        found.append([node.name for node in graph.graph.nodes if node.op.startswith("call")])
        return graph.forward

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", traced)
    yield found
    torch._dynamo.reset()


def compact(workload):
    return Compact(16, 16, compile=True).prepare(workload, Precision("fp32", "fail"), "cpu")


@pytest.mark.parametrize("build", [tiny_bert, tiny_mamba], ids=["bert", "mamba"])
def test_a_step_is_compiled_and_runs_other_shapes_as_they_are(build, graphs):
    workload = build()
    step = compact(workload)
    assert step.executed["compile"] == "torch.compile, inductor"
    assert step.executed["compiled_modules"] == 3 and 2 <= len(graphs) <= 4 and max(map(len, graphs)) > 8
    count = len(graphs)
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5
    shorter = {"input_ids": workload.inputs["input_ids"][:1, :5]}
    assert relative_error(step.on(shorter), workload.forward(workload.module, shorter)) < 1e-5
    assert len(graphs) == count


class Parts(nn.Module):
    """Layers without a forward of their own: what is called lies inside them."""

    def __init__(self):
        super().__init__()
        pairs = [{"up": nn.Linear(8, 16), "down": nn.Linear(16, 8)} for _ in range(2)]
        self.layers = nn.ModuleList(nn.ModuleDict(pair) for pair in pairs)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer["down"](layer["up"](x))
        return x


class Chain(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Uncalled(Chain):
    def forward(self, x):
        return self.layers[0].forward(x)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.own = nn.Linear(8, 8)

    def forward(self, x):
        return self.own(x)


@pytest.mark.parametrize(
    ("module", "units", "operators"),
    [
        (nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 8)), 1, [3]),
        (Chain(nn.Linear(8, 16), nn.Linear(16, 8)), 2, [1, 1]),
        (Chain(Layer()), 1, [1]),
        (Parts(), 1, [6]),
    ],
    ids=[
        "torch's sequence",
        "torch's layers in a list",
        "a layer of one's own",
        "layers that are not called",
    ],
)
def test_layers_of_torch_s_own_are_compiled_as_well(module, units, operators, graphs):
    module.eval().requires_grad_(False)
    x = torch.randn(2, 8)
    expected = module(x)
    assert compile_layers(module)["compiled_modules"] == units
    compile_now(lambda: module(x))
    assert [len(names) for names in graphs] == operators
    assert relative_error(module(x), expected) < 1e-6
    assert len(graphs) == len(operators)


@pytest.mark.parametrize("variable", ["TORCHDYNAMO_DISABLE", None])
def test_a_model_of_which_nothing_is_compiled_is_not_recorded_as_compiled(variable, graphs, monkeypatch):
    workload = dataclasses.replace(
        mock().build(), module=(Chain if variable else Uncalled)(Layer()), sites=(), fuse=None
    )
    workload = dataclasses.replace(
        workload, inputs={"x": torch.randn(2, 8)}, forward=lambda module, given: module(**given)
    )
    if variable:
        monkeypatch.setenv(variable, "1")
    why = f"{variable}=1 is set" if variable else "the forward calls none of the modules that repeat"
    with pytest.raises(MeasurementError, match=rf"compiled nothing \({why}\); runtime.compile=false"):
        compact(workload)


class Broken(Layer):
    def forward(self, x):
        torch._dynamo.graph_break()
        return self.own(x)


def test_a_layer_of_more_than_one_graph_ends_the_run(graphs):
    module = Chain(Broken())
    compile_layers(module)
    with pytest.raises(MeasurementError, match=r"torch.compile failed \(Unsupported: .*compile=false"):
        compile_now(lambda: module(torch.randn(2, 8)))


def test_what_is_no_layer_is_no_unit():
    beside = nn.ModuleDict({"own": Layer(), "torch's": nn.Linear(8, 8)})
    module = Chain(Layer(), Layer())
    module.beside, module.none = beside, nn.ModuleList()
    assert compiled_units(module) == [*module.layers, beside["own"]]
