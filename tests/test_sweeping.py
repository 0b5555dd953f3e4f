"""A sweep's folder is its own, and a run's name is its own to choose only where nobody gave one."""

from __future__ import annotations

from datetime import datetime
from types import SimpleNamespace

import pytest
from hydra.types import RunMode

from icd.choices import conf_dir
from icd.composing import compose_cell
from icd.errors import ConfigError
from icd.sweeping import names_itself, placed


def test_sweeps_of_one_second_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dated = r"hydra.sweep.dir='runs/${now:%Y}/sweep'"
    compose = compose_cell
    monkeypatch.setattr("icd.sweeping.compose_cell", lambda conf, words: compose(conf, [dated, *words]))
    words = ["seed=0,1", "tracking=none"]
    told = [placed(conf_dir(), words)[2] for _ in range(3)]
    day = f"runs/{datetime.now():%Y}"
    assert told == [f"hydra.sweep.dir='{day}/sweep{more}'" for more in ("", "-2", "-3")]
    assert sorted(p.name for p in (tmp_path / day).iterdir()) == ["sweep", "sweep-2", "sweep-3"]


def test_the_default_folder_is_one_of_the_second(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    word = placed(conf_dir(), ["seed=0,1"])[1]
    assert (tmp_path / word.partition("=")[2].strip("'") / "ledger.jsonl").is_file()


def test_a_sweeps_folder_that_was_given_is_used_as_it_is_and_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["seed=0,1", "hydra.sweep.dir=mine"]
    assert "hydra.sweep.dir='mine'" in placed(conf_dir(), words)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(ConfigError, match="mine: it holds a sweep"):
        placed(conf_dir(), words)


@pytest.mark.parametrize(
    ("mode", "overrides", "own"),
    [
        (RunMode.RUN, [], True),
        (RunMode.RUN, ["hydra.sweep.dir=x"], True),
        (RunMode.RUN, ["hydra.run.dir=mine"], False),
        (RunMode.RUN, ["+hydra.run.dir=mine"], False),
        (RunMode.MULTIRUN, [], False),
    ],
)
def test_only_a_run_without_a_name_may_take_another(mode, overrides, own):
    hydra = SimpleNamespace(mode=mode, overrides=SimpleNamespace(hydra=overrides))
    assert names_itself(hydra) is own
