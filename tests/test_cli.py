"""The command line: refusals leave nothing behind, help is quick, exit codes are the documented ones."""

from __future__ import annotations

import errno
import json
import resource
import subprocess
import sys

import pytest

from icd import __version__
from icd.cli import dispatch, main, options_first
from icd.commands import WORDS, overview, word_help
from icd.composing import refuse_directory
from icd.config import conf_dir
from icd.errors import ConfigError, Exit
from icd.sweeping import expand, launch, sweep_code
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
    (["sparsity=0.3,0.5"], "-m runs one cell for each"),
    (["-m", "sparsity=0.3,"], "'sparsity=0.3,' cannot be read; expected KEY=VALUE"),
    (["model=[mock,minilm]"], "expected one choice"),
    (["model="], "model=: unknown choice. model knows: bert"),
    (["transform=none", "transform.recover=lstsq"], "The chosen transform has no keys"),
    (["model.sede=1"], "unknown key 'model.sede'. Did you mean 'seed'? model knows: name"),
    (["hydra.rum.dir=x"], "unknown key 'hydra.rum.dir'"),
    (["model=custom"], "model.loader has no value"),
    (["sparsity"], "expected sparsity=VALUE"),
    (["--multirunn"], "unrecognized arguments: --multirunn"),
    (["hydra/launcher=nope", "-m"], "hydra/launcher=nope: no such launcher here"),
    (["solver.time_budget_s=-1"], "solver.time_budget_s: expected seconds above 0"),
    (["measure.target_width_pct=nan"], "measure.target_width_pct=nan: expected a finite number"),
    (["measure.time_budget_s=inf"], "measure.time_budget_s=inf: expected a finite number"),
    (["runtime.cuda_graph=true", "device=cpu"], "needs an NVIDIA GPU and this run's device is cpu"),
    (["measure.repeats=100000", "measure.rounds=30"], "and a record holds 4,000,000; lower measure.repeats"),
    (["+sweeps=precision_grid"], "-m runs its cells"),
    (["solver=mine"], "solver=mine: unknown choice. solver knows: degree"),
    (["solver=mine"], "tile; a choice of your own needs --config-dir FOLDER"),
    (["validate"], "usage: icd validate"),
    (["verify"], "usage: icd verify [--without-graphs] RUN|SWEEP...; expected"),
    (["sync", "x", "--uri"], "--uri: expected an address"),
    (["sync", "x", "--ury=1"], "got '--ury=1'"),
    (["validate", "x", "--what"], "got '--what'"),
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


def test_a_run_directory_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    done = icd("hydra.run.dir=file/run", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG and "'file' is a file" in done.stderr
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ConfigError, match="may not be written; name another"):
        refuse_directory("hydra.run.dir", tmp_path / "a" / "b")


def test_broken_yaml_is_named_by_file_and_line(tmp_path):
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "odd.yaml").write_text("_target_: [\n")
    done = icd("--config-dir", "mine", "model=odd", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG
    assert done.stderr.startswith("icd: model/odd.yaml, line 2: not YAML")
    (tmp_path / "mine" / "model" / "odd.yaml").write_text("a: 1\n")
    done = icd("--config-dir", "mine", "model=odd", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG and "lacks the key _target_" in done.stderr
    done = icd("--config-dir", "mine", "model=oddd", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG and "Did you mean 'odd'?" in done.stderr
    (tmp_path / "mine" / "model" / "odd.yaml").write_bytes(b"\xff\xfe")
    done = icd("--config-dir", "mine", "model=odd", cwd=tmp_path)
    assert done.returncode == Exit.BAD_CONFIG and "is not UTF-8 text (byte 0xff at 0)" in done.stderr


@pytest.mark.parametrize(("made", "code"), [(True, Exit.BAD_CONFIG), (False, Exit.MISSING_RESOURCE)])
def test_a_data_folder_that_is_none_is_refused(made, code, tmp_path):
    if made:
        (tmp_path / "data").touch()
    done = icd("seed=1", cwd=tmp_path, ICD_DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == code and "ICD_DATA_DIR names 'data'" in done.stderr


def test_a_full_disk_costs_a_sentence(monkeypatch, capsys):
    def full(words):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/runs/x")

    monkeypatch.setattr("icd.cli.dispatch", full)
    with pytest.raises(SystemExit) as ended:
        main(["seed=1"])
    assert ended.value.code == Exit.MISSING_RESOURCE
    assert (
        capsys.readouterr().err == "icd: No space left on device (x); an unfinished run counts as no result\n"
    )
    with pytest.raises(SystemExit):
        main(["report", "x"])
    assert capsys.readouterr().err == "icd: No space left on device (x)\n"  # that run has finished


@pytest.mark.parametrize("word", sorted(WORDS))
def test_every_word_explains_itself(word, capsys):
    assert dispatch([word, "--help"]) == 0
    assert capsys.readouterr().out == f"{word_help(word)}\n"
    assert word in overview() and f"`icd {word}" in (ROOT / "README.md").read_text("utf-8")


def test_options_may_stand_between_overrides(tmp_path):
    (tmp_path / "mine").mkdir()
    done = icd("seed=3", "--config-dir", "mine", "sparsity=0.7", "--cfg", "job", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "seed: 3" in done.stdout and "sparsity: 0.7" in done.stdout
    assert options_first(["a=1", "-m", "--config-dir", "d", "b=2"], ["a=1", "b=2"]) == [
        *("-m", "--config-dir", "d", "a=1", "b=2")
    ]


def test_the_version_is_icds_own(capsys):
    assert dispatch(["--version"]) == 0
    assert capsys.readouterr().out == f"icd {__version__}\n"


@pytest.mark.parametrize(
    ("word", "code", "said"),
    [
        ("validate", Exit.VERIFICATION_FAILED, "metrics.json cannot be read"),
        ("rerun", Exit.BAD_CONFIG, "config.lock.json is not JSON"),
        ("report", Exit.VERIFICATION_FAILED, "SHA256SUMS: expected a sum"),
        ("verify", Exit.VERIFICATION_FAILED, "SHA256SUMS: expected a sum"),
    ],
)
def test_a_damaged_record_is_named(word, code, said, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in ("metrics.json", "SHA256SUMS", "config.lock.json"):
        (run / name).write_text("{")
    done = icd(word, "run", cwd=tmp_path)
    assert done.returncode == code and said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr and len(list(run.iterdir())) == 3


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
        done = icd(*words, cwd=tmp_path, cold=True)
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


def test_a_sweep_is_judged_by_what_its_launcher_hands_back(tmp_path, monkeypatch):
    codes, finished = iter([0, 1]), []
    monkeypatch.setattr("icd.sweeping.run_cell", lambda cfg: next(codes))
    monkeypatch.setattr("icd.sweeping.finish_sweep", lambda folder, cfg: finished.append((folder, cfg.seed)))
    words = ["sparsity=0.3,0.5", "seed=3", f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    assert launch(conf_dir(), words) == Exit.GATE_FAILED
    assert finished == [(tmp_path / "sweep", 3)]


@pytest.mark.slow
def test_cells_in_other_processes_are_judged_alike(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    small = ("tracking=none", "measure=smoke", "model.layers=1", "hydra.sweep.dir=sweep")
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    done = icd("-m", "transform.groups=[nothing],[neurons]", *small, *launcher, cwd=tmp_path, cold=True)
    assert done.returncode == Exit.CELLS_FAILED, done.stderr
    assert not (tmp_path / "sweep" / "multirun.yaml").exists()
    cells = json.loads((tmp_path / "sweep" / "sweep.json").read_text("utf-8"))["cells"]
    assert list(cells) == [next(n.name for n in (tmp_path / "sweep").glob("1-*"))]


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
