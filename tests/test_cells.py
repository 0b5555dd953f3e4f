"""Cells of a sweep: safe, short, unique folders, found again wherever they are; one id a sweep."""

from __future__ import annotations

import json

import pytest

from icd.cells import LONGEST, cell_folder, check_folders, swept_keys
from icd.config import conf_dir
from icd.errors import ConfigError, IcdError
from icd.ledger import LEDGER, finished_cells, read_plan, sweep_id, sweep_of, write_plan
from icd.own import folders, quoted, with_own_conf
from icd.pipeline.sweep import FILE, faults, judge, missing, write_sweep
from icd.recording import escaped
from icd.sweeping import placed
from icd.tools.sync import cells
from icd.tools.validate import main as validate
from icd.tools.verify import verify_sweep
from icd.tracking.projection import project
from tests.report.build import metrics, write_run

ODD = [
    "model.sites=sub/s.yaml", "tracking.experiment=a/b", "model.path=../../x", "model.path=/etc/passwd",
    "model.path=..", "model.path=.", "model.repo=ü/字", "model.repo='a b, c'", "model.prompts=[a,'b']",
    "+model.x=a=b", "~gate.require", "model.repo='\n'", "model.repo=" + "x" * 500, "model.repo=-x", "a=",
    "a=.",
]  # fmt: skip


@pytest.mark.parametrize("word", ODD)
def test_a_cell_s_folder_is_one_plain_bounded_name_that_begins_with_its_number(word):
    for words in ([word], [word, "seed=3"], [word] * 40):
        name = cell_folder(7, words)
        assert name.partition("-")[0] == "7" and len(name.encode()) <= LONGEST
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._=+-")
        assert not name.endswith(".") and name not in (".", "..")


def test_of_two_sweeps_in_one_directory_the_later_one_is_refused_and_changes_nothing(tmp_path):
    plan = write_plan(tmp_path / "s", ["0"])
    with pytest.raises(ConfigError, match="it holds a sweep"):
        write_plan(tmp_path / "s", ["0", "1"])
    assert read_plan(tmp_path / "s") == plan


@pytest.mark.parametrize("below", ["file", "file/x", "n" * 300])
def test_a_sweep_whose_directory_cannot_be_made_costs_a_sentence(below, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IcdError, match=r"^hydra\.sweep\.dir=.*(cannot be made|holds a sweep)"):
        write_plan(tmp_path / below, ["0"])


def test_a_folder_tells_what_is_swept_and_no_address():
    cells = [["seed=1", f"sparsity={s}", "tracking.uri=http://u:p@h"] for s in (0.3, 0.5)]
    assert swept_keys(cells) == ["sparsity"]
    assert [cell_folder(k, cell, "sparsity") for k, cell in enumerate(cells)] == [
        "0-sparsity=0.3", "1-sparsity=0.5"
    ]  # fmt: skip
    assert cell_folder(0, cells[0]) == "0-seed=1_sparsity=0.3"
    assert cell_folder(12, ["tracking.uri=http://u:p@h"]) == "12"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["..", "1"], "inside the sweep's"), (["/abs"], "inside the sweep's"),
        (["a/../../b"], "inside the sweep's"), (["."], "inside the sweep's"),
        (["x", "x"], "two cells would share"), (["x", "./x"], "two cells would share"),
        (["x", "x/y"], "inside another cell's folder"), (["é" * 120], "longer than a file system"),
        (["/".join("abcdefghi")], "9 folders deep"), ([".x.unfinished-0"], "another use"),
        (["a/.x.unfinished-0/b"], "another use"), (["ledger.jsonl/0"], "another use"),
        (["sweep.json"], "another use"),
    ],
)  # fmt: skip
def test_folders_that_are_none_of_the_sweep_s_own_are_refused(names, said):
    with pytest.raises(ConfigError, match=said):
        check_folders(names)
    check_folders(["0-a", "1-a", ".hidden/0", "sub/1"])


FOURTEEN = [
    "measure.processes=2", "measure.allocations=1", "measure.rounds=2", "measure.repeats=2", "seed=0,1",
    "measure.warmup_iter=1", "solver.time_budget_s=5.0", "solver.alpha=1.0", "solver.beta=0.2",
    "solver.gamma_s=0.1", "solver.mu=0.5", "solver.resolution=1.0", "graph.per_row=32",
    "graph.nnz_cap=100000",
]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (FOURTEEN, ["0-seed=0", "1-seed=1"]),
        (["tracking.experiment=a/b", "sparsity=0.3,0.5"], ["0-sparsity=0.3", "1-sparsity=0.5"]),
        (["model.name=mock", "precision=fp8,int8"], ["0-precision=fp8", "1-precision=int8"]),
        (["seed=1,2", "hydra.sweep.subdir=.x/${hydra.job.num}/y"], [".x/0/y", ".x/1/y"]),
        (["seed=1,2", "hydra.sweep.subdir=./${hydra.job.num}/."], ["0", "1"]),
    ],
)
def test_the_ledger_names_every_cell_before_the_first_runs(words, names, tmp_path):
    fixed = placed(conf_dir(), [*words, f"hydra.sweep.dir={quoted(str(tmp_path / 'a b, c'))}"])
    plan = read_plan(tmp_path / "a b, c")
    assert list(plan.cells) == names and len(plan.sweep) == 32
    assert fixed[: len(words)] == words
    with pytest.raises(ConfigError, match="it holds a sweep"):
        placed(conf_dir(), [*words, f"hydra.sweep.dir={quoted(str(tmp_path / 'a b, c'))}"])


def sweep(folder, names, done):
    """A sweep that planned ``names``, of which ``done`` finished."""
    write_plan(folder, names)
    for name in done:
        record = {**metrics(), "run_id": f"{folder.parent.name}-{name}"}
        record["gates"] = {g: {"pass": None, "checks": []} for g in ("mock", "smoke", "strict")}
        write_run(folder / name, record)
    return folder


def test_cells_are_found_in_subfolders_and_hidden_ones_and_no_folder_that_is_being_written(tmp_path):
    folder = sweep(tmp_path / "s", ["a/b", ".h/0", "c"], ["a/b", ".h/0"])
    write_run(folder / ".c.unfinished-12", metrics())
    (folder / "linked").symlink_to(folder / "a" / "b")
    write_run(folder / "a" / "b" / "before_rollback", metrics())  # inside a run
    assert [c.relative_to(folder).as_posix() for c in finished_cells(folder)] == [".h/0", "a/b"]
    assert cells(folder) == finished_cells(folder)
    assert sweep_of(folder / "a" / "b") == folder.resolve() and project(folder / "a" / "b").sweep == "s"
    stray = write_run(folder / "a" / "stray", metrics())
    assert project(stray).sweep is None and faults(folder) == [
        "a/stray: a run that is no cell of this sweep's ledger"
    ]


def test_what_is_missing_of_a_sweep_is_recorded_and_said(tmp_path, capsys):
    folder = sweep(tmp_path / "s", ["0", "1", "2"], ["0"])
    (folder / "1").mkdir()
    (folder / "1" / "error.json").write_text('{"code": 4, "message": "x"}')
    assert missing(folder) == {
        "1": "it ended with exit code 4",
        "2": "it never ran, or its folder was taken away",
    }
    assert write_sweep(folder)["missing"] == missing(folder) == judge(folder)["missing"]
    validate([str(folder)])
    assert "cell 2 is missing: it never ran" in capsys.readouterr().out
    assert not [problem for problem in verify_sweep(folder) if problem.startswith("sweep.json")]


def test_a_sweep_without_a_finished_cell_is_never_verified(tmp_path):
    folder = sweep(tmp_path / "s", ["0"], [])
    write_sweep(folder)
    assert verify_sweep(folder) == ["no cell of this sweep has finished, so nothing can be verified"]
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    (earlier / FILE).write_text(json.dumps(judge(earlier)))
    assert verify_sweep(earlier) == ["no cell of this sweep has finished, so nothing can be verified"]


@pytest.mark.parametrize(
    "text", ["x\n", "[]\n", '{"schema": "icd.ledger/1"}\n', '{"schema": 1, "cells": [1]}\n']
)
def test_a_ledger_that_cannot_be_read_is_named(text, tmp_path):
    folder = sweep(tmp_path / "s", ["0"], ["0"])
    write_sweep(folder)
    (folder / LEDGER).write_text(text)
    assert any(LEDGER in problem for problem in verify_sweep(folder))


def test_two_sweeps_of_one_name_are_two_with_and_without_ledgers(tmp_path):
    one, two = (sweep(tmp_path / p / "sweep", ["0", "1"], ["0", "1"]) for p in "ab")
    assert sweep_id(one) != sweep_id(two) and sweep_id(one) == sweep_id(one)
    assert project(one / "0").sweep_id == project(one / "1").sweep_id == sweep_id(one)
    for folder in (one, two):
        (folder / LEDGER).unlink()
        (folder / "multirun.yaml").touch()
    assert sweep_id(one) == "a-0" and sweep_id(two) == "b-0" == project(two / "1").sweep_id


# --- folders of one's own ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["own, two", "it's", "a=b", "a b", "ü#x", "a[1]", 'q"q', "back\\slash", "x'\\"]
)
def test_a_configuration_folder_may_have_any_name(name, tmp_path):
    from icd.cli import compose_cell

    (tmp_path / name / "graph").mkdir(parents=True)
    (tmp_path / name / "graph" / "mine.yaml").write_text("_target_: icd.graph.weights.Weights\nper_row: 3\n")
    words = with_own_conf(conf_dir(), ["graph=mine"], str(tmp_path / name))
    assert folders(words[-1].removeprefix("hydra.searchpath=")) == [str(tmp_path / name)]
    assert compose_cell(conf_dir(), words).graph.per_row == 3
    assert folders(f"[{quoted(escaped('file://a'))}, file://b,'file://c, d']") == ["a", "b", "c, d"]
