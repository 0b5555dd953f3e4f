"""The planner: measured choices, one a shape and density, remembered, and never a changed function."""

import json

import numpy as np
import pytest

from icd.pipeline.checks import relative_error
from icd.runtime import planner
from icd.runtime.auto import Auto
from icd.runtime.compact import Compact
from icd.runtime.masked import Masked
from icd.runtime.one_layer import one_layer
from icd.transform.quantize import Precision
from tests.runtime.test_engines import gather, pruned
from tests.tiny import mock, tiny_bert, tiny_mamba

FP32 = Precision("fp32", "fail")


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Times by the number of parameters: ``slope`` says whether fewer are faster; counts what is timed."""
    monkeypatch.setenv("ICD_CACHE_DIR", str(tmp_path))
    seen = {"slope": 1.0, "runs": 0}

    def run(step, count, device):
        seen["runs"] += 1
        size = sum(p.numel() for p in step.module.parameters())
        return size * 1e-6 if seen["slope"] > 0 else 1.0 / size

    monkeypatch.setattr(planner, "run", run)
    return seen


@pytest.mark.parametrize(
    "build", [tiny_bert, tiny_mamba, lambda: mock().build()], ids=["bert", "mamba", "mock"]
)
@pytest.mark.parametrize("slope", [1.0, -1.0], ids=["compact pays", "compact does not pay"])
def test_what_is_faster_is_executed_and_the_function_stays(build, slope, clock):
    clock["slope"] = slope
    workload = gather(pruned(build()))
    step = Auto(64, 16).prepare(workload, FP32, "cpu")
    best = (Compact if slope > 0 else Masked)(64, 16).prepare(workload, FP32, "cpu")
    assert step.executed["sites"] == best.executed["sites"]
    assert {row["chosen"] for row in step.executed["plan"]} == {"compact" if slope > 0 else "masked"}
    assert relative_error(step(), workload.forward(workload.module, workload.inputs)) < 1e-5


def test_equal_layers_are_measured_once_and_remembered(clock):
    workload = gather(pruned(tiny_bert()))
    plan = Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"]
    assert [(row["group"], row["sites"], row["cached"]) for row in plan] == [
        ("heads", 2, False), ("neurons", 2, False),
    ]  # fmt: skip
    runs = clock["runs"]
    again = Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"]
    assert clock["runs"] == runs and all(row["cached"] for row in again)
    assert [row["masked_ms"] for row in again] == [row["masked_ms"] for row in plan]
    Auto(64, 16, cache=False).prepare(workload, FP32, "cpu")
    assert clock["runs"] > runs


def test_a_damaged_entry_is_measured_again(clock, tmp_path):
    workload = gather(pruned(mock().build()))
    Auto(64, 16).prepare(workload, FP32, "cpu")
    for entry in (tmp_path / "plans").iterdir():
        entry.write_text("{")
    assert not Auto(64, 16).prepare(workload, FP32, "cpu").executed["plan"][0]["cached"]
    assert all("ms" in json.loads(e.read_text()) for e in (tmp_path / "plans").iterdir())


def test_nothing_is_planned_where_nothing_is_left_out(clock):
    step = Auto(64, 16).prepare(tiny_bert(), FP32, "cpu")
    assert step.executed["plan"] == [] and clock["runs"] == 0


def test_the_layer_that_is_timed_holds_its_sites_alone():
    workload = gather(pruned(tiny_bert()))
    site = workload.sites[-1]
    one = one_layer(workload, site)
    assert len(one.module.encoder.layer) == 1 and {s.group for s in one.sites} == {"heads", "neurons"}
    assert all(axis.parameter.startswith("encoder.layer.0.") for s in one.sites for axis in s.axes)
    ours = one.module.get_parameter(one.sites[-1].axes[0].parameter)
    assert np.array_equal(ours, workload.module.get_parameter(site.axes[0].parameter))
    assert len(workload.module.encoder.layer) == 2


def test_real_times_are_positive_and_alternate():
    workload = gather(pruned(mock().build()))
    steps = [engine(64, 16).prepare(workload, FP32, "cpu") for engine in (Masked, Compact)]
    timed = planner.alternate(steps, "cpu")
    assert timed.masked_ms > 0 and timed.compact_ms > 0 and 0 <= timed.slower <= planner.BLOCKS


@pytest.mark.parametrize("lost", [7, 8, 9])
def test_only_what_loses_nearly_every_round_is_not_cut(lost, monkeypatch):
    rounds = iter([1.0, 1.0, *(x for k in range(9) for x in (1.0, 1.1 if k < lost else 0.5))])
    monkeypatch.setattr(planner, "run", lambda step, count, device: next(rounds))
    timed = planner.alternate([None, None], "cpu")
    choice = planner.Choice("neurons", 64, 32, 1, *timed, cached=False)
    assert timed.slower == lost and timed.compact_ms > timed.masked_ms
    assert choice.chosen == ("masked" if lost >= 8 else "compact")
