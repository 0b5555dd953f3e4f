"""The wheel, installed elsewhere and run from another directory; and the documented example."""

from __future__ import annotations

import re
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


def test_the_documented_custom_model_runs(tmp_path):
    text = (ROOT / "docs" / "adding.md").read_text()
    python = next(b for b in re.findall(r"```python\n(.*?)```", text, re.S) if "# mymodel.py" in b)
    sites = next(b for b in re.findall(r"```yaml\n(.*?)```", text, re.S) if "# sites.yaml" in b)
    command = re.search(r"python -m icd (model=custom .*)", text)[1].split()
    (tmp_path / "mymodel.py").write_text(python)
    (tmp_path / "sites.yaml").write_text(sites)
    done = icd(*command, "measure=smoke", "tracking=none", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert icd("verify", "run", cwd=tmp_path).returncode == 0
