"""A cache saves time, and no run needs one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from icd import places
from tests.conftest import icd


@pytest.fixture
def unwritable(monkeypatch):
    """No folder can be written; a superuser's permissions would not show it."""
    monkeypatch.setattr(places, "writable", lambda folder: False)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ICD_CACHE_DIR": "/c"}, "/c"),
        ({"ICD_CACHE_DIR": "", "XDG_CACHE_HOME": "/x"}, "/x/icd"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/icd"),
        ({"HOME": "/h"}, "/h/.cache/icd"),
    ],
)
def test_where_the_cache_lies(variables, folder, monkeypatch):
    for name in ("ICD_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert places.cache_dir() == Path(folder)


def test_a_run_does_without_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    small = ("model.layers=1", "model.neurons=256", "model.width=64", "solver.max_proposals=2000")
    done = icd(
        *small, "tracking=none", "hydra.run.dir=run", cwd=tmp_path, ICD_CACHE_DIR=str(tmp_path / "file")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "run" / "SHA256SUMS").is_file()
    said = "solved layouts cannot be kept in 'layouts' (Not a directory)"
    assert f"icd: {said}" in done.stderr  # the solver's process said so; its parent shows and logs it
    log = [json.loads(line) for line in (tmp_path / "run" / "run.log").read_text().splitlines()]
    notices = [line["meta"]["message"] for line in log if line["stage"] == "notice"]
    assert [notice.startswith(said) for notice in notices] == [True]
    assert str(tmp_path) not in json.dumps(log)


def test_compiled_kernels_find_a_folder_where_none_can_be_written(unwritable, monkeypatch):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    with places.compiled_kernels():
        folder = Path(os.environ["NUMBA_CACHE_DIR"])
        assert folder.is_dir()
    assert not folder.exists() and "NUMBA_CACHE_DIR" not in os.environ


def test_the_user_says_where_compiled_kernels_lie(unwritable, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/theirs")
    with places.compiled_kernels():
        assert os.environ["NUMBA_CACHE_DIR"] == "/theirs"


def test_compiled_kernels_stay_where_numba_puts_them(monkeypatch, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with places.compiled_kernels():
        assert "NUMBA_CACHE_DIR" not in os.environ


def test_a_folder_below_a_file_is_not_writable(tmp_path):
    (tmp_path / "file").write_text("")
    assert places.writable(tmp_path / "new" / "newer")
    assert not places.writable(tmp_path / "file" / "new")
