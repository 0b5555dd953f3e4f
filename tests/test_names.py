"""A site's name becomes a file's: refused where it cannot, before anything is computed."""

from __future__ import annotations

import os

import pytest

from icd.errors import ConfigError
from icd.names import LONGEST, check_file_name

GOOD = ["layer.0.neurons", "0.10", "größe", "字", "a b", "a:b", "x" * LONGEST, "-rf", "=1+2"]
BAD = [
    "../../X",
    "/etc/x",
    "a/b",
    "a\\b",
    "a\0b",
    "a\nb",
    "a\x1bb",
    "a\u202eb",
    "..",
    ".",
    ".hidden",
    "",
    "\udce9",
]


@pytest.mark.parametrize("name", [*BAD, "x" * (LONGEST + 1), "é" * LONGEST], ids=ascii)
def test_a_name_that_is_no_files_is_refused_in_one_line_of_ascii(name):
    with pytest.raises(ConfigError) as caught:
        check_file_name(name)
    said = str(caught.value)
    assert said.startswith("site '") and said.isascii() and "\n" not in said and len(said) < 300


@pytest.mark.parametrize("name", GOOD)
def test_a_name_that_is_accepted_is_a_file_of_its_folder(name, tmp_path):
    check_file_name(name)
    (tmp_path / f"{name}.npz").touch()
    assert os.listdir(tmp_path) == [f"{name}.npz"]


def test_prepare_refuses_a_site_before_it_computes(monkeypatch, tmp_path):
    import dataclasses

    from icd.pipeline import prepare
    from tests.pipeline.fake_run import Device, experiment

    def renamed(self):
        built = build(self)
        first, *rest = built.sites
        return dataclasses.replace(built, sites=(dataclasses.replace(first, name="../../X"), *rest))

    build = Device.build
    monkeypatch.setattr(Device, "build", renamed)
    monkeypatch.setattr(prepare, "search", lambda *_: pytest.fail("a layout was searched"))
    with pytest.raises(ConfigError, match=r"site '\.\./\.\./X'"):
        prepare.prepare(experiment(), tmp_path, lambda event, **fields: None)
    assert list(tmp_path.iterdir()) == []
