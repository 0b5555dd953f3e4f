"""What goes wrong ends with its code and its sentence, and leaves nothing that looks like a result."""

from __future__ import annotations

import json
import pickle
import subprocess

import pytest

from icd.errors import Exit, MeasurementError, MissingResource
from icd.pipeline import isolate
from icd.pipeline.files import check_sums
from icd.pipeline.plans import accept
from tests.conftest import icd

SITES = """
- name: 0.neurons
  size: 64
  activation: "1"
  axes:
    - {parameter: 0.weight, dim: 0}
    - {parameter: 1.weight, dim: 1}
"""
LOADER = """
import torch

def load(batch_size, seq_len, seed):
    torch.manual_seed(seed)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 64))
    return {"module": module, "inputs": {"input": torch.randn(2, 4, 64)}}

def broken(batch_size, seq_len, seed):
    raise RuntimeError("the disk is on fire")
"""
CUSTOM = [
    "model=custom",
    "model.sites=sites.yaml",
    "graph=weights",
    "transform.score=magnitude",
    "tracking=none",
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sites.yaml").write_text(SITES)
    (tmp_path / "mine.py").write_text(LOADER)
    return tmp_path


def test_a_site_that_changes_the_function_ends_with_6_and_no_result(folder):
    done = icd(*CUSTOM, "model.loader=mine:load", "measure=smoke", "hydra.run.dir=run", cwd=folder)
    assert done.returncode == Exit.VERIFICATION_FAILED
    assert "changes the model's function" in done.stderr and len(done.stderr.strip().splitlines()) == 1
    names = {p.name for p in (folder / "run").iterdir()}
    assert names == {"config.lock.json", "config.lock.yaml", "env.json", "run.log", "error.json"}
    assert json.loads((folder / "run" / "error.json").read_text())["code"] == 6
    assert check_sums(folder / "run")


def test_static_scales_without_calibration_inputs_end_with_2_and_say_what_to_use(folder):
    words = ["model.loader=mine:load", "precision=int8", "precision.calibration=static"]
    done = icd(*CUSTOM, *words, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == Exit.BAD_CONFIG
    assert "has none; use precision.calibration=dynamic" in done.stderr


def test_an_error_in_the_users_loader_is_told_in_one_line(folder):
    done = icd(*CUSTOM, "model.loader=mine:broken", "hydra.run.dir=run", cwd=folder)
    assert done.returncode == Exit.BAD_CONFIG
    assert "model.loader='mine:broken'" in done.stderr and "the disk is on fire" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["model.loader=mine:nothing"], "has no attribute 'nothing'", Exit.BAD_CONFIG),
        (["model.loader=mine"], "expected package.module:function", Exit.BAD_CONFIG),
        (["model.loader=mine:load", "model.sites=none.yaml"], "no such file", Exit.MISSING_RESOURCE),
    ],
)
def test_a_loader_or_sites_file_that_is_not_there_is_told(folder, words, sentence, code):
    done = icd(*CUSTOM, *words, "hydra.run.dir=run", cwd=folder)
    assert done.returncode == code and sentence in done.stderr


def test_a_child_that_dies_is_an_error_with_what_it_wrote_last(tmp_path, monkeypatch):
    monkeypatch.setattr(isolate.sys, "executable", "/bin/false")
    with pytest.raises(MeasurementError, match="ended with code 1 and no result"):
        isolate.run_child("prepare", {}, tmp_path, print)


def test_a_child_behind_a_prefix_is_ended_with_all_it_started_when_its_time_is_up(tmp_path):
    prefix = ("sh", "-c", "sleep 47.11 & wait")
    with pytest.raises(MeasurementError, match=r"the profile process was ended after 0\.5 s"):
        isolate.run_child("profile", {}, tmp_path, print, prefix=prefix, timeout_s=0.5)
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "sleep 47.11" not in left.splitlines()


def test_a_prefix_starts_the_child_and_its_result_comes_back(tmp_path):
    with pytest.raises(MeasurementError, match="no stage 'dance'"):
        isolate.run_child("dance", {}, tmp_path, print, prefix=("env", "A=1"), timeout_s=60)


def test_a_childs_threads_sleep_soon_unless_the_user_says_how_they_wait():
    assert isolate.surroundings("prepare", {"A": "1"}).items() >= {("A", "1"), ("OMP_WAIT_POLICY", "PASSIVE")}
    assert isolate.surroundings("measure", {})["GOMP_SPINCOUNT"] == "10000"
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        for stage in ("prepare", "measure"):
            env = isolate.surroundings(stage, {name: "7"})
            assert env[name] == "7" and len({"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & set(env)) == 1


def test_a_prefix_that_does_not_start_the_child_is_told_in_its_own_words(tmp_path):
    prefix = ("sh", "-c", "echo ==ERROR== unrecognised option; exit 1")
    with pytest.raises(MeasurementError, match=r"code 1 and no result; it last wrote: ==ERROR== unrec"):
        isolate.run_child("profile", {}, tmp_path, print, prefix=prefix)


def test_a_result_that_a_late_attempt_left_is_not_taken_for_the_next_ones(tmp_path):
    (tmp_path / "profile-0.result").write_bytes(pickle.dumps(("ok", "old")))
    with pytest.raises(MeasurementError, match="no result; it wrote nothing"):
        isolate.run_child("profile", {}, tmp_path, print, prefix=("false",))


def test_a_profiler_writes_numbers_without_a_locale_and_other_children_keep_theirs(tmp_path, monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    heard = []
    prefix = ("sh", "-c", """printf '{"event": "%s"}\\n' "$LC_ALL" """)
    with pytest.raises(MeasurementError):
        isolate.run_child("profile", {}, tmp_path, heard.append, prefix=prefix)
    assert heard == [{"event": "C"}]


def test_a_childs_error_is_raised_here_with_its_own_type_and_cause(tmp_path):
    job = tmp_path / "measure-0.job"
    job.write_bytes(b"")
    log = tmp_path / "measure-0.stderr"
    log.write_text("")
    told = {"code": 3, "message": "no such thing", "traceback": "deep inside"}
    job.with_suffix(".result").write_bytes(pickle.dumps(("error", told)))
    with pytest.raises(MissingResource, match="no such thing") as caught:
        isolate._result(job, log, "measure", 0)
    assert "deep inside" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"T": 100.0, "J": 1.0}, {"T": 99.0, "J": 9.0}, True),
        ({"T": 100.0, "J": 1.0}, {"T": 99.8, "J": 1.0}, False),
        ({"T": 100.0, "J": 1.0}, {"T": 100.4, "J": 0.98}, True),
        ({"T": 100.0, "J": 1.0}, {"T": 100.4, "J": 0.995}, False),
        ({"T": 100.0, "J": 1.0}, {"T": 101.0, "J": 0.1}, False),
        ({"T": 100.0, "J": -1.0}, {"T": 100.0, "J": -1.02}, True),
        ({"T": 0.0, "J": 0.0}, {"T": 0.0, "J": 0.0}, False),
    ],
)
def test_a_re_permutation_is_kept_when_tiles_fall_or_cost_falls_at_equal_tiles(before, after, kept):
    ok, reason = accept(before, after, eps_T=0.005, eps_J=0.01)
    assert ok is kept and ("rolled back" in reason) is not kept
