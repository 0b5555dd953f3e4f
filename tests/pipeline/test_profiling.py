"""Profiling with a child that writes what ncu would: retries, final refusals, samples, no paths."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from icd.config import conf_dir
from icd.contracts import Missing
from icd.errors import MeasurementError
from icd.measure.protocol import Protocol
from icd.pipeline.arms import Arm, Prepared
from icd.pipeline.files import jsonable
from icd.pipeline.profiling import ATTEMPTS, profile_arms, without_paths
from icd.stats.derive import derive

RECORDED = Path(__file__).parents[1] / "measure" / "ncu"
ARMS = ("linear", "iterative")


def experiment(repetitions=1, simulated=False, ncu_enable=True):
    protocol = Protocol("test", 1, 1, 1, "auto", 0, ncu_enable, False, ncu_repetitions=repetitions)
    return SimpleNamespace(model=SimpleNamespace(simulated=simulated), measure=protocol, seed=0)


def prepared(device="cuda:0"):
    arms = tuple(Arm(name, "dense", {}) for name in ARMS)
    return Prepared(model=None, arms=arms, live={}, files={}, facts={"device": device, "tokens": 128})


def child(*outcomes):
    """A child that leaves one recorded output after the other; an exception is raised."""
    left = list(outcomes)
    calls = []

    def run(stage, arguments, folder, listen, *, prefix, timeout_s):
        calls.append((stage, arguments["arm"], arguments["repetition"]))
        outcome = left.pop(0) if len(left) > 1 else left[0]
        name, died = outcome if isinstance(outcome, tuple) else (outcome, None)
        if name:
            Path(prefix[prefix.index("--log-file") + 1]).write_text((RECORDED / f"{name}.csv").read_text())
        if died:
            raise died
        return {"executed": {"source": "measured", "cuda_graph": False}}

    run.calls = calls
    return run


def profiled(tmp_path, run, **changes):
    return profile_arms(
        experiment(**changes), prepared(), tmp_path, lambda event: None, child=run, find=lambda: "ncu"
    )


def test_every_repetition_of_every_arm_gives_three_figures(tmp_path):
    run = child("good")
    record = profiled(tmp_path, run, repetitions=3)
    assert record.missing is None and len(run.calls) == 6 and len(record.samples) == 18
    assert {(s.metric, s.unit) for s in record.samples} == {
        ("l2_served_pct", "%"), ("l2_lookup_hit_pct", "%"), ("dram_bytes_per_token", "B"),
    }  # fmt: skip
    derived = derive(record.samples, ARMS, device="cuda:0", tokens=128)
    found = derived["compare"]["iterative_vs_linear"]
    assert found["l2_pp"]["n_units"] == 3 and found["l2_pp"]["delta"] == 0
    assert found["dram"]["ci95"] is not None


def test_one_repetition_gives_figures_and_no_interval(tmp_path):
    record = profiled(tmp_path, child("good"))
    found = derive(record.samples, ARMS, device="cuda:0", tokens=128)
    assert found["arms"]["linear"]["l2"]["served_pct"] > 0
    assert found["compare"]["iterative_vs_linear"]["l2_pp"]["ci95"] is None


def test_a_failed_attempt_is_made_again_and_stays_in_the_record(tmp_path):
    record = profiled(tmp_path, child("failed", "partial_value", "good"))
    first = record.runs[0]
    assert [a["ok"] for a in first["attempts"]] == [False, False, True]
    assert "Failed to profile" in first["attempts"][0]["reason"]
    assert first["kernels"] == 4 and first["top_kernels"] and record.missing is None
    text = json.dumps(jsonable(record.as_json()))
    assert "127.0.0.1" not in text and str(tmp_path) not in text


def test_a_child_that_dies_counts_as_an_attempt(tmp_path):
    run = child((None, MeasurementError("it wrote: /home/me/x.py")), "good")
    record = profiled(tmp_path, run)
    assert record.runs[0]["attempts"][0]["reason"] == "it wrote: x.py" and record.missing is None


def test_a_missing_permission_ends_it_at_once_with_the_remedy(tmp_path):
    run = child(("no_permission", MeasurementError("ended with code 1")))
    record = profiled(tmp_path, run, repetitions=3)
    assert len(run.calls) == 1 and record.samples == []
    assert "NVreg_RestrictProfilingToAdminUsers=0" in record.missing


def test_an_arm_that_fails_every_time_stops_where_nothing_has_worked_yet(tmp_path):
    run = child("failed")
    record = profiled(tmp_path, run)
    assert len(run.calls) == ATTEMPTS and "Failed to profile" in record.missing


def test_an_arm_that_fails_every_time_leaves_the_others_their_figures(tmp_path):
    run = child("good", "failed", "failed", "failed")
    record = profiled(tmp_path, run)
    assert len(record.runs) == 2 and len(record.samples) == 3 and record.missing


@pytest.mark.parametrize(
    ("changes", "device", "find", "sentence"),
    [
        ({"simulated": True}, "cpu", "ncu", "simulated"),
        ({}, "cpu", "ncu", "the device is a CPU"),
        ({"ncu_enable": False}, "cuda:0", "ncu", "measure.ncu_enable=false"),
        ({"repetitions": 0}, "cuda:0", "ncu", "measure.ncu_repetitions=0"),
        ({}, "cuda:0", Missing("ncu is not there"), "ncu is not there"),
    ],
)
def test_where_nothing_is_profiled_the_reason_says_why(tmp_path, changes, device, find, sentence):
    run = child("good")
    record = profile_arms(
        experiment(**changes), prepared(device), tmp_path, print, child=run, find=lambda: find
    )
    assert run.calls == [] and record.samples == [] and sentence in record.missing


def test_paths_are_cut_to_their_last_part():
    assert without_paths('File "/opt/a/b.py", line 3; see https://x.org/y/z') == (
        'File "b.py", line 3; see https://x.org/y/z'
    )


@pytest.mark.parametrize("file", sorted((conf_dir() / "runtime").glob("*.yaml")), ids=lambda f: f.stem)
def test_every_engine_can_be_run_without_a_graph(file):
    module, _, name = yaml.safe_load(file.read_text())["_target_"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    assert "cuda_graph" in {f.name for f in dataclasses.fields(cls)}
