"""What a running process holds is told from what a killed one left."""

from __future__ import annotations

import subprocess
import sys

import pytest

from icd import claims

HOLD = "import sys, time; from pathlib import Path; from icd.claims import temporary\n"
HOLD += "with temporary('icd-') as folder:\n    print(folder, flush=True)\n    time.sleep(600)"


@pytest.fixture
def holder(tmp_path, monkeypatch):
    """A process and the temporary folder that it holds."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    yield child, claims.Path(child.stdout.readline().strip())
    child.kill()
    child.wait()


def test_a_folder_is_left_when_its_process_was_killed_and_not_before(holder, tmp_path):
    child, folder = holder
    assert folder.parent == tmp_path and not claims.left(folder)
    assert claims.remains(tmp_path, "icd-*", claims.MARK) == [] and not claims.remove(folder)
    child.kill()
    child.wait()
    assert claims.remains(tmp_path, "icd-*", claims.MARK) == [folder]
    assert claims.remove(folder) and not folder.exists()


def test_a_folder_without_the_mark_or_behind_a_link_is_somebody_elses(tmp_path):
    (tmp_path / "icd-of-another-program").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / claims.MARK).touch()
    (tmp_path / "icd-link").symlink_to("elsewhere")
    assert claims.remains(tmp_path, "icd-*", claims.MARK) == []


def test_a_temporary_folder_is_gone_when_its_block_ends_also_by_an_error():
    with pytest.raises(KeyError), claims.temporary("icd-") as folder:
        raise KeyError
    assert not folder.exists()


def test_where_folders_cannot_be_locked_none_counts_as_left(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("no locks here")

    (tmp_path / "icd-a").mkdir()
    monkeypatch.setattr(claims.fcntl, "flock", refuse)
    assert not claims.left(tmp_path / "icd-a") and not claims.remove(tmp_path / "icd-a")
