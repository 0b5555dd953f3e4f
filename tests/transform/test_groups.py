"""A group of sites is found by name, and a misspelt one is refused instead of pruning nothing."""

from __future__ import annotations

import pytest
import yaml

from icd.config import conf_dir
from icd.errors import ConfigError
from icd.transform.groups import KNOWN, sites_of


def test_sites_are_those_of_the_groups_named(mock_workload):
    assert [s.group for s in sites_of(mock_workload, ["neurons", "d_inner"])] == ["neurons"] * 2


@pytest.mark.parametrize("groups", [["heads"], []])
def test_groups_that_the_model_has_none_of_are_refused_for_nothing_would_be_removed(mock_workload, groups):
    with pytest.raises(ConfigError, match=r"names nothing that model=mock has, .* it has neurons"):
        sites_of(mock_workload, groups)


def test_the_groups_of_the_yamls_hold_some_of_every_family():
    for name in ("channel", "unstructured"):
        groups = yaml.safe_load((conf_dir() / "transform" / f"{name}.yaml").read_text())["groups"]
        assert {"neurons", "heads", "d_inner"} <= set(groups), name


def test_a_misspelt_group_is_refused_with_those_that_are_there(mock_workload):
    with pytest.raises(
        ConfigError, match=r"unknown group 'neuron'\. Did you mean 'neurons'\? model=mock has"
    ):
        sites_of(mock_workload, ["neuron"])


@pytest.mark.parametrize("name", ["channel", "unstructured"])
def test_every_group_of_the_yamls_is_known(name):
    assert set(yaml.safe_load((conf_dir() / "transform" / f"{name}.yaml").read_text())["groups"]) <= set(
        KNOWN
    )
