"""The process that ncu watches: which forwards stand between start and stop, and which step they run."""

from __future__ import annotations

import importlib
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
from tests.runtime.test_engines import gather, pruned
from tests.tiny import tiny_bert

ENGINES = sorted((conf_dir() / "runtime").glob("*.yaml"))
FP32 = Precision("fp32", "fail")


@pytest.fixture
def gpu(monkeypatch):
    """What happens on a device that is none, in order."""
    seen = []
    cudart = SimpleNamespace(
        cudaProfilerStart=lambda: seen.append("start"), cudaProfilerStop=lambda: seen.append("stop")
    )
    monkeypatch.setattr(torch.cuda, "cudart", lambda: cudart)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: seen.append("marker"))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: seen.append("wait"))
    monkeypatch.setattr(profiled, "Flush", lambda device: lambda: seen.append("flush"))
    monkeypatch.setattr(profiled, "enter", lambda device: None)
    return seen


def run(monkeypatch, seen, runtime, captured, regimes=("warm", "cold"), launches=2):
    workload = gather(pruned(tiny_bert()))
    monkeypatch.setattr(profiled, "load_values", lambda prepared: {"dense": workload})
    monkeypatch.setattr(profiled, "lay_out", lambda *recipe: workload)
    real = profiled.step_of

    def step_of(*arguments):
        step = real(*arguments)
        forward = step.forward

        def launched(module, inputs):
            seen.append("kernels")
            return forward(module, inputs)

        def replay():
            seen.append("graph")

        return profiled.dataclasses.replace(step, forward=launched, replay=replay, output=step())

    monkeypatch.setattr(profiled, "step_of", step_of)
    experiment = SimpleNamespace(runtime=runtime, precision=FP32, seed=0)
    prepared = Prepared(model=None, arms=(Arm("linear", "dense", {}),), live={}, files={})
    return profiled.profile(
        experiment, prepared, ["linear"], regimes, launches, 0, captured, "cpu", lambda *a, **k: None
    )


def test_between_start_and_stop_stand_a_marker_and_one_forward(gpu, monkeypatch):
    told = run(monkeypatch, gpu, Compact(64, 16), captured=True)
    assert told["forwards"] == [["linear", "warm"]] * 2 + [["linear", "cold"]] * 2
    inside = ["wait", "start", "marker", "graph", "wait", "stop"]
    assert gpu == ["graph"] * 5 + 2 * ["graph", *inside] + 2 * ["flush", *inside]


def test_kernel_by_kernel_the_step_that_was_planned_for_a_graph_runs_without_it(gpu, monkeypatch, tmp_path):
    monkeypatch.setenv("ICD_CACHE_DIR", str(tmp_path))
    switches = []
    planned = importlib.import_module("icd.runtime.auto").choose

    def choose(*arguments, **switched):
        switches.append(switched["cuda_graph"])
        return planned(*arguments, **switched)

    monkeypatch.setattr("icd.runtime.auto.choose", choose)
    told = run(monkeypatch, gpu, Auto(64, 16), captured=False, regimes=("warm",), launches=1)
    assert switches == ["auto"]
    assert told["executed"]["linear"]["cuda_graph"] is False and told["executed"]["linear"]["plan"]
    assert gpu == [*["kernels"] * 6, "wait", "start", "marker", "kernels", "wait", "stop"]


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
