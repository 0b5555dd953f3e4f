"""The process that ncu watches: which forwards stand between start and stop, and which step they run."""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from icd.choices import conf_dir
from icd.pipeline import profiled
from icd.pipeline.arms import Arm, Prepared
from icd.runtime.auto import Auto
from icd.runtime.compact import Compact
from icd.transform.quantize import Precision
from tests.runtime.test_accelerate import Stream
from tests.runtime.test_engines import gather, pruned
from tests.tiny import tiny_bert

ENGINES = sorted((conf_dir() / "runtime").glob("*.yaml"))
FP32 = Precision("fp32", "fail")


class Graph:
    """Stands for torch.cuda.CUDAGraph: replays what ran while it was captured."""

    alive = 0

    def __init__(self, seen):
        self.seen, self.ran = seen, []
        Graph.alive += 1

    def __del__(self):
        Graph.alive -= 1

    def replay(self):
        self.seen.append("graph of " + " ".join(self.ran))


@pytest.fixture
def gpu(monkeypatch):
    """What happens on a device that is none, in order; ``gpu.pools``: of the captured graphs."""
    seen = Seen()
    cudart = SimpleNamespace(
        cudaProfilerStart=lambda: seen.append("start"), cudaProfilerStop=lambda: seen.append("stop")
    )

    @contextmanager
    def capturing(graph, pool=None):
        before = list(seen)
        yield
        graph.ran, seen[:] = seen[len(before) :], before
        seen.pools.append(pool)

    for name, fake in {
        "cudart": lambda: cudart,
        "_sleep": lambda cycles: seen.append("marker"),
        "synchronize": lambda: seen.append("wait"),
        "Stream": Stream,
        "stream": lambda stream: stream,
        "current_stream": Stream,
        "CUDAGraph": type("CUDAGraph", (Graph,), {"__init__": lambda self: Graph.__init__(self, seen)}),
        "graph": capturing,
        "graph_pool_handle": lambda: (0, len(seen.pools)),
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(profiled, "Flush", lambda device: lambda: seen.append("flush"))
    monkeypatch.setattr(profiled, "enter", lambda device: None)
    return seen


class Seen(list):
    def __init__(self):
        super().__init__()
        self.pools = []


def run(
    monkeypatch,
    seen,
    runtime,
    captured,
    graphs=("XFF", "XF", "X"),
    launches=2,
    timed=True,
    arms=("linear",),
):
    """``timed``: whether the step is timed as a CUDA graph."""
    workload = gather(pruned(tiny_bert()))
    monkeypatch.setattr(profiled, "load_values", lambda prepared: {"dense": workload})
    monkeypatch.setattr(profiled, "lay_out", lambda *recipe: workload)
    real = profiled.step_of
    graph_of_its_own = Graph(seen) if timed else None

    def step_of(*arguments):
        step = real(*arguments)
        forward = step.forward

        def launched(module, inputs):
            seen.append("forward")
            return forward(module, inputs)

        executed = {**step.executed, "cuda_graph": timed}
        output = step()
        step = profiled.dataclasses.replace(step, forward=launched, executed=executed)
        if timed:
            step = profiled.dataclasses.replace(step, replay=graph_of_its_own.replay, output=output)
        return step

    monkeypatch.setattr(profiled, "step_of", step_of)
    experiment = SimpleNamespace(runtime=runtime, precision=FP32, seed=0)
    prepared = Prepared(model=None, arms=tuple(Arm(a, "dense", {}) for a in arms), live={}, files={})
    return profiled.profile(
        experiment, prepared, arms, graphs, launches, 0, captured, "cpu", lambda *a, **k: None
    )


@pytest.mark.parametrize("timed", [True, False])
def test_every_graph_is_profiled_behind_a_flush_and_a_marker(gpu, monkeypatch, timed):
    told = run(monkeypatch, gpu, Compact(64, 16), captured=True, timed=timed)
    assert told["profiled"] == [["linear", g] for g in ("XFF", "XF", "X") for _ in range(2)]
    assert told["refused"] is None
    steps = " ".join(gpu).split("start marker ")
    ran = [step.partition(" wait stop")[0].removeprefix("graph of ") for step in steps[1:]]
    assert ran == [r for r in ("flush forward forward", "flush forward", "flush") for _ in range(2)]
    assert [step.endswith("flush wait ") for step in steps[:-1]] == [True] * 6
    extra = {} if timed else {"cuda_graph_when_timed": False}
    assert told["executed"]["linear"] == {
        **told["executed"]["linear"], "cuda_graph": True, **extra
    } and ("cuda_graph_when_timed" in told["executed"]["linear"]) is not timed  # fmt: skip


def test_graphs_share_one_pool_that_the_shortest_fills_first(gpu):
    captured = profiled.capture_all(
        ["XFF", "XF", "X"], lambda: gpu.append("forward"), lambda: gpu.append("flush")
    )
    assert list(captured) == ["X", "XF", "XFF"]
    assert gpu.pools == [(0, 0)] * 3


def test_nothing_is_planned_or_compiled_for_the_second_forward_of_a_graph(gpu, monkeypatch):
    made = []
    real = profiled.step_of
    monkeypatch.setattr(profiled, "step_of", lambda *a: made.append(a) or real(*a))
    run(monkeypatch, gpu, Compact(64, 16), captured=True)
    assert len(made) == 1


def test_the_graphs_of_an_arm_are_gone_when_the_next_arm_is_made(gpu, monkeypatch):
    alive = []
    real = profiled.step_of

    def step_of(*arguments):
        alive.append(Graph.alive)
        return real(*arguments)

    monkeypatch.setattr(profiled, "step_of", step_of)
    run(monkeypatch, gpu, Compact(64, 16), captured=True, timed=False, arms=("linear", "iterative"))
    assert len(alive) == 2 and alive[0] == alive[1]


def test_a_forward_that_cannot_be_captured_is_refused_with_the_cause(gpu, monkeypatch):
    def broken(graph, pool=None):
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", broken)
    told = run(monkeypatch, gpu, Compact(64, 16), captured=True, timed=False)
    assert told["profiled"] == [] and "start" not in gpu
    assert told["refused"] == (
        "linear: figures of the cache are those of one CUDA graph of the forward: CUDA graph capture failed "
        "(operation not permitted when stream is capturing)"
    )


def test_kernel_by_kernel_the_step_that_was_planned_for_a_graph_runs_without_it(gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("ICD_CACHE_DIR", str(tmp_path))
    switches = []
    planned = importlib.import_module("icd.runtime.auto").choose

    def choose(*arguments, **switched):
        switches.append(switched["cuda_graph"])
        return planned(*arguments, **switched)

    monkeypatch.setattr("icd.runtime.auto.choose", choose)
    told = run(monkeypatch, gpu, Auto(64, 16), captured=False, graphs=("F",), launches=1)
    assert switches == ["auto"]
    assert told["executed"]["linear"]["cuda_graph"] is False and told["executed"]["linear"]["plan"]
    assert told["profiled"] == [["linear", "F"]]
    assert gpu == [*["forward"] * 6, "wait", "start", "marker", "forward", "wait", "stop"]


@pytest.mark.parametrize("file", ENGINES, ids=lambda f: f.stem)
def test_every_engines_step_can_run_without_a_graph(file, monkeypatch, tmp_path):
    monkeypatch.setenv("ICD_CACHE_DIR", str(tmp_path))
    fields = yaml.safe_load(file.read_text())
    module, _, name = fields.pop("_target_").rpartition(".")
    workload = gather(pruned(tiny_bert()))
    step = getattr(importlib.import_module(module), name)(**fields).prepare(workload, FP32, "cpu")
    bare = profiled.without_graph(step)
    assert bare.module is step.module and bare.executed == {**step.executed, "cuda_graph": False}
    assert np.allclose(bare().numpy(), step().numpy())
