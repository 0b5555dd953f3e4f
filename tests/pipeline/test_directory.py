"""A run directory is claimed before anything is measured, by one run; what was written is never lost."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from icd.errors import ConfigError
from icd.pipeline.directory import LOG, claim
from icd.pipeline.files import SUMS


def wrote(directory, text="measured"):
    (directory.folder / "samples.csv.gz").write_text(text)
    (directory.folder / SUMS).write_text("")
    return directory


def test_a_taken_default_name_gets_a_number_before_and_after_the_first_run_is_done(tmp_path):
    first, second = (wrote(claim(tmp_path / "run", another_name=True), text) for text in ("a", "b"))
    assert (first.name.name, second.name.name) == ("run", "run-2")
    assert second.publish() == tmp_path / "run-2" and first.publish() == tmp_path / "run"
    assert claim(tmp_path / "run", another_name=True).name.name == "run-3"
    texts = [(tmp_path / name / "samples.csv.gz").read_text() for name in ("run", "run-2")]
    assert texts == ["a", "b"]


def test_of_runs_that_begin_at_once_none_shares_a_directory(tmp_path):
    with ThreadPoolExecutor(16) as pool:
        claimed = list(pool.map(lambda _: claim(tmp_path / "run", another_name=True), range(32)))
    names = [wrote(directory).publish().name for directory in claimed]
    assert sorted(names) == sorted({"run", *(f"run-{n}" for n in range(2, 33))})
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


def test_a_directory_that_was_named_is_used_or_refused_and_nothing_is_left(tmp_path):
    first = claim(tmp_path / "run")
    with pytest.raises(ConfigError, match="another run is writing it now"):
        claim(tmp_path / "run")
    wrote(first).publish()
    with pytest.raises(ConfigError, match="run is not empty; name a new one"):
        claim(tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_what_a_killed_run_left_blocks_no_later_one_whatever_its_process_was_called(tmp_path):
    killed = tmp_path / ".run.unfinished-run"
    killed.mkdir()
    (killed / LOG).write_text("of a run that was killed")
    (tmp_path / f".run.unfinished-{os.getpid()}").mkdir()
    assert wrote(claim(tmp_path / "run")).publish() == tmp_path / "run"
    aside = [p for p in tmp_path.glob(".run.unfinished-*/*") if p.read_text() == "of a run that was killed"]
    assert len(aside) == 1


def test_a_run_that_is_interrupted_leaves_nothing_and_frees_the_name(tmp_path):
    (tmp_path / "run").mkdir()
    claim(tmp_path / "run").discard()
    assert list(tmp_path.iterdir()) == []
    claim(tmp_path / "run").discard()


def test_a_link_to_a_directory_takes_the_run(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "run").symlink_to("disk")
    assert wrote(claim(tmp_path / "run")).publish() == tmp_path / "run"
    assert (tmp_path / "disk" / "samples.csv.gz").read_text() == "measured"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["disk", "run"]


def test_the_present_directory_takes_the_run_and_stays_the_present_one(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    wrote(claim(tmp_path / "here")).publish()
    assert sorted(os.listdir()) == sorted([LOG, SUMS, "samples.csv.gz"])


def test_a_directory_that_was_filled_meanwhile_costs_the_name_and_not_the_run(tmp_path):
    directory = wrote(claim(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine").touch()
    assert directory.publish() == tmp_path / "run-2"
    assert (tmp_path / "run-2" / "samples.csv.gz").is_file() and (tmp_path / "run" / "mine").is_file()
