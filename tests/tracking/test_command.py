"""`icd sync`: runs and sweeps, a line each, and what is refused."""

from __future__ import annotations

import sys

import pytest

from icd.errors import ConfigError, MissingResource
from icd.tools.sync import arguments, cells, main
from tests.report.build import metrics, write_run


def sweep(folder):
    for i in range(2):
        record = metrics()
        record["run_id"] = f"id{i}"
        write_run(folder / str(i), record)
    (folder / "multirun.yaml").touch()
    (folder / "2").mkdir()
    return folder


def test_a_sweep_is_logged_cell_by_cell(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sweep(tmp_path / "s")
    assert main(["s", "--uri", "sqlite:///other.db"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["0: logged to MLflow", "1: logged to MLflow"]
    assert (tmp_path / "other.db").is_file()
    assert (tmp_path / "mlartifacts").is_dir()


def test_unfinished_cells_of_a_sweep_are_left_out(tmp_path):
    assert [c.name for c in cells(sweep(tmp_path / "s"))] == ["0", "1"]


def test_words_and_address(tmp_path):
    assert arguments(["a", "b", "--uri=x"]) == (["a", "b"], "x")
    assert arguments(["a"]) == (["a"], "sqlite:///mlflow.db")
    for wrong in ([], ["--uri", "x"], ["a", "--what"], ["a", "--uri"]):
        with pytest.raises(ConfigError, match="usage"):
            arguments(wrong)


def test_nothing_is_logged_when_one_is_not_finished(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", metrics())
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingResource, match="not a finished run"):
        main(["run", "empty"])
    with pytest.raises(MissingResource, match="no such run"):
        main(["run", "none"])
    assert not (tmp_path / "mlflow.db").exists()


def test_missing_mlflow_is_a_missing_resource(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", metrics())
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingResource, match="not installed"):
        main([str(run)])
