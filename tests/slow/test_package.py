"""The wheel, installed elsewhere and run from another directory."""

from __future__ import annotations

import subprocess
import sys
import zipfile

import pytest

from tests.conftest import ROOT, icd

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], check=True
    )
    return next(folder.glob("icd-*.whl"))


def test_the_wheel_holds_the_configuration_the_texts_and_the_template(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "conf/config.yaml",
        "conf/model/mock.yaml",
        "data/calibration.txt",
        "report/template.html.j2",
    ):
        assert f"icd/{name}" in names


def test_the_wheel_runs_from_another_directory(wheel, tmp_path):
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), str(wheel)],
        check=True,
    )
    away = tmp_path / "away"
    away.mkdir()
    code = "import icd; print(icd.__file__)"
    env = {"PYTHONPATH": str(site)}
    where = subprocess.run(
        [sys.executable, "-c", code], cwd=away, env={**env, "PATH": ""}, capture_output=True, text=True
    )
    assert str(site) in where.stdout
    done = icd("tracking=none", "model.layers=1", "hydra.run.dir=run", cwd=away, **env)
    assert done.returncode == 0, done.stderr
    assert icd("verify", "run", cwd=away, **env).returncode == 0
