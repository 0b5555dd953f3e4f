"""The command line: refusals leave nothing behind, help is quick, exit codes are the documented ones."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from icd.cli import expand, sweep_code
from icd.config import conf_dir
from icd.errors import Exit
from tests.conftest import ROOT, icd

BAD = [
    (["+typo=1"], "unknown key 'typo'"),
    (["sparsty=0.3"], "Did you mean 'sparsity'"),
    (["sparsity=1.5"], "sparsity=1.5: expected a number from 0 to 0.95"),
    (["sparsity=much"], "sparsity='much': expected"),
    (["model=mok"], "Did you mean 'mock'"),
    (["+model.depth=3"], "unknown key 'model.depth'"),
    (["model.layers=two"], "model.layers='two': expected a whole number"),
    (["transform.score=best"], "expected one of magnitude, wanda, random"),
    (["device=gpu"], "device='gpu': expected auto, cpu, cuda or cuda:N"),
    (["pipeline.arms=[dense,sliced]"], "sliced is compared with linear"),
    (["pipeline.arms=[dense,best]"], "unknown arm 'best'"),
    (["pipeline=linear", "gate=smoke"], "has no iterative arm"),
    (["hardware=auto"], "needs a device's figures"),
    (["runtime.tile_cols=63"], "expected a power of two"),
    (["gate=mock", "gate.require=[latency]"], "gate mock has no check latency"),
    (["-m", "sparsity=0.3,1.3"], "sparsity=1.3: expected"),
    (["-m", "precision=fp8,fp9"], "precision=fp9: unknown choice"),
    (["bridge.enable=true"], "no bridge to enable"),
    (["model=minilm", "seq_len=600"], "position table of 512"),
    (["reprot", "x"], "Did you mean 'report'"),
    (["sparsity=0.3,0.5"], ""),
]


@pytest.mark.parametrize(("words", "sentence"), BAD, ids=lambda x: "_".join(x) if isinstance(x, list) else "")
def test_a_bad_input_gets_one_sentence_exit_2_and_leaves_nothing(words, sentence, tmp_path):
    done = icd(*words, cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG, done.stderr
    assert done.stderr.startswith("icd: ") and len(done.stderr.strip().splitlines()) == 1
    assert sentence in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_used_run_directory_is_refused(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "file").write_text("x")
    done = icd("hydra.run.dir=old", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG and "not empty" in done.stderr
    assert [p.name for p in (tmp_path / "old").iterdir()] == ["file"]


def test_cuda_where_there_is_none_exits_3(tmp_path):
    if subprocess.run([sys.executable, "-c", "import torch; exit(torch.cuda.is_available())"]).returncode:
        pytest.skip("this machine has CUDA")
    done = icd("device=cuda", cwd=tmp_path)
    assert done.returncode == Exit.MISSING_RESOURCE and "device=cpu" in done.stderr


def children_seconds() -> float:
    """Processor seconds of finished children: what a command costs, whatever else the machine does."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]])
def test_showing_help_or_the_configuration_is_quick_and_writes_nothing(words, tmp_path):
    seconds = []
    for _ in range(3):
        before = children_seconds()
        done = icd(*words, cwd=tmp_path)
        seconds.append(children_seconds() - before)
        assert done.returncode == 0 and "sparsity" in done.stdout
    assert min(seconds) < 2.0
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_is_expanded_before_it_runs():
    cells = expand(conf_dir(), ["sparsity=0.3,0.5", "precision=fp8,int8", "seed=1"], multirun=True)
    assert len(cells) == 4 and ["sparsity=0.3", "precision=fp8", "seed=1"] in cells


def test_a_named_sweep_brings_its_grid_along():
    cells = expand(conf_dir(), ["+sweeps=precision_grid", "seed=1"], multirun=True)
    assert len(cells) == 6 and all("seed=1" in cell for cell in cells)


@pytest.mark.parametrize(("codes", "code"), [([0, 0], 0), ([0, 1], 1), ([1, 4], 7), ([0, 3], 7), ([], 0)])
def test_a_sweep_says_7_for_failed_cells_else_1_for_failed_gates(codes, code):
    assert sweep_code(codes) == code


def test_the_command_line_imports_no_framework():
    code = (
        "import sys, icd.cli, icd.config\n"
        "print([m for m in ('torch', 'numba', 'mlflow', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_a_planner_is_refused_where_no_time_is_measured(tmp_path):
    done = icd("runtime=auto", "tracking=none", cwd=tmp_path)
    assert done.returncode == 2 and "runtime=auto chooses by measured time" in done.stderr
