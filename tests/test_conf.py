"""Contract tests: every YAML of every group, discovered, not listed."""

from __future__ import annotations

import dataclasses
import importlib
import subprocess
import sys

import pytest
import yaml

from icd.config import GROUPS, conf_dir, fits
from tests.conftest import ROOT

FILES = sorted(file for group in GROUPS for file in (conf_dir() / group).glob("*.yaml"))
PRESETS = {"measure", "hardware", "precision", "pipeline", "gate"}  # several YAMLs to one class


def target(file) -> type:
    module, _, name = yaml.safe_load(file.read_text())["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_every_group_has_a_choice_and_none_is_forgotten():
    assert len(FILES) >= 35
    assert {file.parent.name for file in FILES} == set(GROUPS)


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}/{f.stem}")
def test_a_yaml_names_a_frozen_dataclass_and_spells_all_of_its_fields(file):
    node = {k: v for k, v in yaml.safe_load(file.read_text()).items() if k not in ("_target_", "defaults")}
    cls = target(file)
    assert dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen
    required = {
        f.name
        for f in dataclasses.fields(cls)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    known = {f.name for f in dataclasses.fields(cls)}
    assert required <= set(node) <= known


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.parent.name not in PRESETS], ids=lambda f: f"{f.parent.name}/{f.stem}"
)
def test_a_choice_lives_in_the_python_file_of_its_name(file):
    module = yaml.safe_load(file.read_text())["_target_"].rpartition(".")[0]
    assert module == f"icd.{file.parent.name}.{file.stem}"


def test_naming_every_choice_imports_no_framework():
    modules = sorted({yaml.safe_load(f.read_text())["_target_"].rpartition(".")[0] for f in FILES})
    heavy = ("torch", "triton", "mlflow", "matplotlib", "numba", "transformers")
    code = (
        f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
        f"print([h for h in {heavy!r} if h in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("value", "hint", "ok"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, True),
        ("1", float, False),
        (None, int | None, True),
        ([1, "a"], list[int], False),
        (["a"], list[str], True),
        ({"a": 1.5}, dict[str, float], True),
        ({"a": "b"}, dict[str, float], False),
    ],
)
def test_types_are_told_apart(value, hint, ok):
    assert fits(value, hint) is ok
