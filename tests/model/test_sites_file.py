"""A sites file holds names as text: what YAML reads as something else is refused, not turned into text."""

from __future__ import annotations

import re

import pytest

from icd.errors import ConfigError
from icd.model.sites_file import read_sites

SITES = """
- name: neurons
  size: 8
  group: neurons
  activation: down
  counts: {width: 1}
  axes: [{parameter: up.weight, dim: 0}, {parameter: down.weight, dim: 1}]
"""
NO_NAMES = {
    "0.10": "0.1, a float",
    "8": "8, a int",
    "yes": "True, a truth value",
    "null": "None, nothing",
    "1.0e+3": "1000.0, a float",
    "1:30": "90, a int",
    "2024-01-01": "datetime.date(2024, 1, 1), a date",
    "[down]": "['down'], a list",
    '""': "'', no character",
}


def read(tmp_path, text):
    file = tmp_path / "sites.yaml"
    file.write_text(text)
    return read_sites(file)


@pytest.mark.parametrize("value", NO_NAMES)
@pytest.mark.parametrize(
    ("key", "old"),
    [
        ("name", "name: neurons"),
        ("group", "group: neurons"),
        ("activation", "activation: down"),
        ("parameter", "parameter: up.weight"),
    ],
)
def test_what_yaml_reads_as_no_text_is_no_name(tmp_path, key, old, value):
    said = f"sites.yaml, site 1: {key}: expected a name, got {NO_NAMES[value]}; write it in quotes"
    with pytest.raises(ConfigError, match=re.escape(said)):
        read(tmp_path, SITES.replace(old, f"{key}: {value}"))


@pytest.mark.parametrize("value", ["0.10", "yes", "null", "2024-01-01"])
def test_what_counts_is_named_in_text_as_well(tmp_path, value):
    with pytest.raises(ConfigError, match=r"site 1: counts: expected a name, got .*; write it in quotes"):
        read(tmp_path, SITES.replace("{width: 1}", f"{{{value}: 1}}"))


def test_quoted_names_are_taken_as_they_stand(tmp_path):
    text = SITES.replace("activation: down", 'activation: "0.10"').replace("name: neurons", "name: 'yes'")
    (site,) = read(tmp_path, text.replace("up.weight", "0.8.weight"))
    assert (site.activation, site.name, site.axes[0].parameter) == ("0.10", "yes", "0.8.weight")


@pytest.mark.parametrize(("given", "held"), [("-2", -2), ("1", 1), ("null", None)])
def test_the_dimension_of_an_activation_counts_from_either_end(tmp_path, given, held):
    (site,) = read(tmp_path, SITES.replace("size: 8", f"size: 8\n  activation_dim: {given}"))
    assert site.activation_dim == held


@pytest.mark.parametrize("given", ["yes", "last", "1.0"])
def test_a_dimension_that_is_no_whole_number_is_named(tmp_path, given):
    with pytest.raises(ConfigError, match="activation_dim: expected a whole number"):
        read(tmp_path, SITES.replace("size: 8", f"size: 8\n  activation_dim: {given}"))


@pytest.mark.parametrize("text", ["- {name: 2024-13-45}", "- {name: [}", "\t- a", "- " * 3000 + "a"])
def test_what_cannot_be_read_costs_a_sentence(tmp_path, text):
    with pytest.raises(ConfigError, match=r"^sites\.yaml") as caught:
        read(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("activation: down", "activation: down\n  activation: up", 6),
        ("dim: 1}", "dim: 1, dim: 0}", 7),
        ("{width: 1}", "{width: 1, width: 2}", 6),
        ("{width: 1}", "{width: 1, 'width': 2}", 6),
    ],
)
def test_a_key_that_stands_twice_is_refused_and_not_taken_from_the_end(tmp_path, old, new, line):
    with pytest.raises(
        ConfigError, match=rf"^sites\.yaml: line {line}: the key '\w+' stands twice in a mapping$"
    ):
        read(tmp_path, SITES.replace(old, new))
    anchored = SITES.replace(
        "{parameter: up.weight, dim: 0}", "&a {parameter: up.weight, dim: 0}, {<<: *a, dim: 1}"
    )
    assert [axis.dim for axis in read(tmp_path, anchored)[0].axes] == [0, 1, 1], "a merge is no second key"
