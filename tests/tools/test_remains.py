"""icd doctor lists what killed runs left, and removes that and nothing else."""

from __future__ import annotations

import os
import tempfile

import pytest

from icd.claims import MARK, lock
from icd.errors import ConfigError
from icd.pipeline.directory import claim
from icd.tools.doctor import leftovers, main
from icd.tools.remains import found


@pytest.fixture
def here(tmp_path, monkeypatch):
    """What killed runs left in every place, beside what running ones use."""
    here, temporary = tmp_path / "here", tmp_path / "tmp"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for folder in ("", "runs/2026-01-01", "runs/2026-01-01/10-00-00-sweep", "mine/deep"):
        (here / folder / ".dead.unfinished-run").mkdir(parents=True)
        (here / folder / ".dead.unfinished-run" / "run.log").touch()
    for name in ("icd-dead", "icd-numba-dead", "icd-held", "icd-other"):
        (temporary / name).mkdir(parents=True)
        if name != "icd-other":
            (temporary / name / MARK).touch()
    (here / f".old.unfinished-{os.getpid()}").mkdir()
    (here / "runs" / "done").mkdir()
    (here / "empty").mkdir()
    monkeypatch.chdir(here)
    running = claim(here / "runs" / "2026-01-01" / "running")
    held = lock(temporary / "icd-held")
    yield here
    os.close(held)
    running.discard()


def names(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*")}


def test_only_what_no_process_uses_is_removed(here, capsys):
    before = names(here.parent)
    paths = found(here)
    assert {p.name for p in paths} == {".dead.unfinished-run", "icd-dead", "icd-numba-dead"} and len(
        paths
    ) == 6
    (finding,) = leftovers(here)
    assert finding.ok is None and "and 5 more" in finding.what and "icd doctor --clean" in finding.remedy
    assert names(here.parent) == before
    assert main(["--clean"]) == 0
    assert capsys.readouterr().out.count("removed: ") == 6
    gone = before - names(here.parent)
    assert gone and all("dead" in name for name in gone)
    assert found(here) == [] and leftovers(here) == []
    assert main(["--clean"]) == 0
    assert capsys.readouterr().out == "nothing that a killed run left is here\n"


def test_links_are_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    (tmp_path / "else" / ".a.unfinished-run").mkdir(parents=True)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "else")
    (tmp_path / "here" / ".b.unfinished-run").symlink_to(tmp_path / "else" / ".a.unfinished-run")
    assert found(tmp_path / "here") == []


@pytest.mark.parametrize("words", [["--clean", "now"], ["--Clean"], ["--clean", "--clean"]])
def test_any_other_word_is_refused(words):
    with pytest.raises(ConfigError, match="takes no arguments but that"):
        main(words)
