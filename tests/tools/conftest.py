"""Runs that are forged: made once, copied by every forgery."""

from __future__ import annotations

import shutil

import pytest

from icd.pipeline.files import sha256
from icd.pipeline.sweep import write_sweep
from icd.tools.recheck import page
from tests.pipeline.fake_run import go


@pytest.fixture(scope="session")
def measured_run(tmp_path_factory):
    """A run that was measured, with energy and counters of the cache, two allocations a process."""
    words = ("measure.rounds=2", "measure.power_rounds=1", "measure.allocations=2")
    return go(tmp_path_factory.mktemp("forged") / "measured", 0.8, 0.7, *words, gpu=True)[0]


RENDERED: dict = {}


@pytest.fixture
def rendered_once(monkeypatch):
    """A record is rendered once for all of its forgeries: what is forged beside it changes none of that."""
    plain = page.render

    def cached(run, name):
        key = (state(run.folder), name)
        if key not in RENDERED:
            RENDERED[key] = plain(run, name)
        return RENDERED[key]

    monkeypatch.setattr(page, "render", cached)


def state(run):
    """The digest of all that a page is rendered from."""
    files = [*run.glob("*.json"), *run.glob("W/*"), run / "samples.csv.gz"]
    return tuple(sha256(file) for file in sorted(files))


@pytest.fixture(scope="session")
def bases(measured_run, mock_run, tmp_path_factory):
    """What forgeries start from, by name."""
    folder = tmp_path_factory.mktemp("sweeps") / "sweep"
    shutil.copytree(mock_run, folder / "0-a")
    shutil.copytree(measured_run, folder / "1-b")
    write_sweep(folder)
    return {"measured": measured_run, "simulated": mock_run, "sweep": folder}
