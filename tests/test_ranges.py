"""Every number of every configuration has a range, and what lies outside is refused by name before a run."""

from __future__ import annotations

import dataclasses
import importlib
import math
import typing

import pytest
import yaml

from icd.cli import compose_cell
from icd.config import GROUPS, check, conf_dir, fits
from icd.errors import ConfigError, IcdError
from icd.ranges import RANGES, check_ranges

FILES = sorted(file for group in GROUPS for file in (conf_dir() / group).glob("*.yaml"))


def numbers(hint):
    """Whether a field may hold a number."""
    return hint in (int, float) or any(numbers(arg) for arg in typing.get_args(hint) if arg is not type(None))


def fields():
    """``group.key`` of every numeric field of every choice, with a class that has it."""
    found = {}
    for file in FILES:
        module, _, name = yaml.safe_load(file.read_text())["_target_"].rpartition(".")
        cls = getattr(importlib.import_module(module), name)
        hints = typing.get_type_hints(cls)
        found |= {
            f"{file.parent.name}.{f.name}": (f"{module}.{name}", hints[f.name])
            for f in dataclasses.fields(cls)
            if numbers(hints[f.name])
        }
    return found


FIELDS = fields()


def test_every_numeric_field_has_a_range_and_no_range_is_left_over():
    assert set(RANGES) == set(FIELDS) and len(FIELDS) > 60


@pytest.mark.parametrize("key", sorted(FIELDS))
@pytest.mark.parametrize("value", [10**20, -(10**20), 1e300, -1e300])
def test_a_number_that_no_run_can_use_is_refused_by_name(key, value):
    target, hint = FIELDS[key]
    group, _, name = key.partition(".")
    node = {"_target_": target, name: {"fp32": value} if typing.get_origin(hint) is dict else value}
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")):
        check_ranges(group, node)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 10**400, -(10**400), True])
def test_what_is_no_finite_number_fits_no_field(value):
    assert not fits(value, float) and not fits(
        value, int | None if isinstance(value, float | bool) else float
    )


def test_what_icd_ships_lies_inside():
    for file in FILES:
        node = yaml.safe_load(file.read_text())
        check_ranges(file.parent.name, node)


@pytest.mark.parametrize(
    "word",
    [
        "gate.latency_pct=-100", "gate.ept_pct=-250", "measure.allocations=99999999999999999999",
        "measure.repeats=0", "measure.warmup_iter=-1", "graph.per_row=-3", "solver.max_proposals=0",
        "hardware.tflops.fp32=0", "hardware.dram_gb_s=-1", "hardware.l2_ways=0", "pipeline.max_iters=100000",
        "model.noise=-0.5", "model.layers=0", "solver.mu=-1", "seed=-1", "seed=1.5", "batch_size=0",
        f"model.noise={'9' * 400}", f"seed={'9' * 5000}", "measure.target_width_pct=1e400",
    ],
)  # fmt: skip
def test_a_number_on_the_command_line_is_refused_before_anything_runs(word):
    with pytest.raises(IcdError) as caught:
        check(compose_cell(conf_dir(), ["tracking=none", word]))
    key = word.partition("=")[0].rpartition(".")[2]
    assert caught.value.code == 2 and len(str(caught.value)) < 400
    assert key in str(caught.value) or "4300 digits" in str(caught.value)
