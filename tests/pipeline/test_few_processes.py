"""Whole runs of one and two processes: what they may say, and that they verify."""

from __future__ import annotations

import pytest

from icd.tools.verify import verify
from tests.pipeline.fake_run import go

FEW = ("measure.rounds=2", "measure.power_rounds=1")


@pytest.mark.parametrize("count", [1, 2])
def test_few_processes_never_pass_a_gate_over_the_cache_and_one_has_no_verdict(tmp_path, count):
    words = (*FEW, f"measure.processes={count}", f"measure.ncu_repetitions={count}")
    folder, metrics, _ = go(tmp_path / "run", 0.5, 0.5, *words, gpu=True)
    compare = metrics["compare"]["iterative_vs_linear"]
    assert compare["latency"]["delta_pct"] == pytest.approx(-50, abs=1)
    assert compare["latency"]["verdict"] == (None if count == 1 else "WIN")
    assert (compare["latency"]["ci95"] is None) is (count == 1)
    smoke = {check["name"]: check for check in metrics["gates"]["smoke"]["checks"]}
    assert metrics["gates"]["smoke"]["pass"] is None and smoke["l2"]["pass"] is None
    assert f"needs at least 3 processes, got {count}" in smoke["l2"]["reason"]
    assert verify(folder) == []


@pytest.mark.parametrize(
    "words", [("pipeline=linear",), ("pipeline=dense",), ("pipeline.arms=[linear,iterative]",)]
)
def test_runs_that_lack_arms_verify(tmp_path, words):
    folder, metrics, _ = go(tmp_path / "run", 0.8, 0.8, *FEW, *words, gpu=True)
    assert verify(folder) == []
    assert ("aa" in metrics["compare"]) is ("aa" in metrics["arms"])
    if "iterative" in metrics["arms"]:
        latency = metrics["compare"]["iterative_vs_linear"]["latency"]
        assert latency["floor_reason"] == "no A/A control in this run"
