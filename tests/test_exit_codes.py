"""Every documented exit code comes out of a command line, with a sentence where something is wrong."""

from __future__ import annotations

import json
import shutil

import pytest

from icd.errors import Exit
from icd.pipeline.files import write_sums
from icd.tools.verify import verify
from tests.conftest import icd

SMALL = (
    "model.layers=1",
    "model.neurons=256",
    "model.width=64",
    "pipeline.max_iters=1",
    "tracking=none",
    "solver.max_proposals=2000",
)
LOADER = "LIMIT = 3\n\n\ndef load(batch_size, seq_len, seed):\n    raise OSError('no disk')\n"
SITES = "- {name: 0.neurons, size: 4, activation: '0', axes: [{parameter: 0.weight, dim: 0}]}\n"
TIMEOUT = ("solver.time_budget_s=1e-6", "solver.on_timeout=fail")


def run_dir(*words):
    return (*SMALL, *words, "hydra.run.dir=run")


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (run_dir("gate=mock", "gate.cost_c_pct=-99.9"), Exit.GATE_FAILED, "gate mock-own: failed (cost_c"),
        (("sparsity=2",), Exit.BAD_CONFIG, "sparsity=2: expected"),
        (run_dir("gate=smoke"), Exit.MISSING_RESOURCE, "gate smoke: undecided"),
        (
            ("model=custom", "model.loader=mine:load", "model.sites=sites.yaml", "tracking=none"),
            Exit.MEASUREMENT_FAILED,
            "no disk",
        ),
        (
            ("model=custom", "model.loader=mine:LIMIT", "model.sites=sites.yaml", "tracking=none"),
            Exit.BAD_CONFIG,
            "model.loader='mine:LIMIT': expected a function, got int",
        ),
        (run_dir(*TIMEOUT), Exit.SOLVER_TIMEOUT, "raise solver.time_budget_s"),
        (
            ("-m", *SMALL, *TIMEOUT, "seed=0,1", "hydra.sweep.dir=s"),
            Exit.CELLS_FAILED,
            "raise solver.time_budget_s",
        ),
        (("verify", "nowhere"), Exit.MISSING_RESOURCE, "no such run directory"),
    ],
    ids=["1", "2", "3 figure", "4", "2 loader", "5", "7", "3 run"],
)  # fmt: skip
def test_the_command_line_ends_with_the_documented_code(words, code, sentence, tmp_path):
    (tmp_path / "mine.py").write_text(LOADER)
    (tmp_path / "sites.yaml").write_text(SITES)
    done = icd(*words, cwd=tmp_path, ICD_CACHE_DIR=str(tmp_path / "cache"))  # a kept layout costs no time
    assert done.returncode == code, done.stdout + done.stderr
    assert sentence in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_forged_gate_ends_verify_and_validate_with_6(mock_run, tmp_path):
    copy = shutil.copytree(mock_run, tmp_path / "copy")
    assert icd("verify", "copy", cwd=tmp_path).returncode == Exit.DONE
    metrics = json.loads((copy / "metrics.json").read_text())
    metrics["gates"]["smoke"] |= {"pass": True, "checks": []}
    (copy / "metrics.json").write_text(json.dumps(metrics))
    write_sums(copy)
    for words in (("verify", "copy"), ("validate", "copy", "--gate", "smoke")):
        assert icd(*words, cwd=tmp_path).returncode == Exit.VERIFICATION_FAILED


def test_an_overridden_gate_decides_the_run_and_not_what_validate_is_asked_for(tmp_path):
    easy = ("gate=mock", "gate.cost_c_pct=1000", "sparsity=0")
    done = icd(*run_dir(*easy), cwd=tmp_path)
    assert done.returncode == Exit.DONE and "gate mock-own: passed" in done.stdout + done.stderr
    assert verify(tmp_path / "run") == []
    done = icd("validate", "run", "--gate", "mock", cwd=tmp_path)
    assert done.returncode == Exit.GATE_FAILED and "gate mock failed" in done.stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    metrics["gates"]["mock"] = metrics["gates"].pop("mock-own")
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics))
    write_sums(tmp_path / "run")
    problems = verify(tmp_path / "run")
    assert "metrics.json: gates: mock-own is missing" in problems
    assert any(problem.startswith("metrics.json: gates.mock.") for problem in problems)


def test_a_kept_timeout_is_recorded_and_tagged(tmp_path):
    done = icd(*run_dir(TIMEOUT[0]), cwd=tmp_path, ICD_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == Exit.DONE, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["solver"]["timeouts"] and "time-limited" in metrics["tags"]
    assert verify(tmp_path / "run") == []
