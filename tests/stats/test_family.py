"""Holm over a sweep's gated hypotheses: by hand, and how often one or more of many nulls pass."""

from __future__ import annotations

import numpy as np
import pytest

from icd.stats.family import family, one_gate
from icd.stats.gates import ONE_SIDED
from icd.stats.interval import holm, t_test


def result(passed: bool | None, **p_values: float | None) -> dict:
    """A gate's result; a p-value of None is a measured check that has no test."""
    checks = []
    for name, p in p_values.items():
        why = {"p_reason": "no counter"} if p is None else {}
        checks.append(
            {"name": name, "threshold": -10.0, "p_value": p, "pass": passed, "required": True, **why}
        )
    return {"pass": passed, "checks": checks}


def test_four_cells_by_hand():
    # sorted 0.001, 0.008, 0.009, 0.020 -> times 4, 3, 2, 1: 0.004, 0.024, 0.024 (monotone), 0.024
    cells = {"a": 0.009, "b": 0.001, "c": 0.020, "d": 0.008}
    found = one_gate({name: result(True, latency=p) for name, p in cells.items()})
    assert {h["cell"]: h["p_holm"] for h in found["hypotheses"]} == pytest.approx(
        {"a": 0.024, "b": 0.004, "c": 0.024, "d": 0.024}
    )
    assert found["passed"] == 4 and found["size"] == 4


def test_a_cell_that_passes_alone_fails_in_the_family_when_holm_says_so():
    # 0.02 x 3 = 0.06 for the smallest, and nothing after it can be smaller
    found = one_gate({name: result(True, latency=0.02) for name in "abc"})
    assert found["passed"] == 0
    assert found["cells"]["a"] == {"own": True, "pass": False}
    assert one_gate({"a": result(True, latency=0.02)})["passed"] == 1


def test_every_required_check_of_a_cell_is_a_hypothesis():
    found = one_gate({"a": result(True, latency=0.001, ept=0.02), "b": result(True, latency=0.001)})
    # 0.001 x 3, 0.001 x 2 -> 0.003 for both; 0.02 x 1
    assert [h["p_holm"] for h in found["hypotheses"]] == pytest.approx([0.003, 0.02, 0.003])
    narrowed = result(True, latency=0.001, ept=0.5)
    narrowed["checks"][1]["required"] = False
    assert one_gate({"a": narrowed})["size"] == 1


def test_missing_and_failed_cells_stay_what_they_are():
    cells = {"a": result(None, latency=0.001, l2=None), "b": result(False, latency=0.9), "c": result(True)}
    found = one_gate(cells)
    assert {name: cell["pass"] for name, cell in found["cells"].items()} == {"a": None, "b": False, "c": True}
    assert (found["size"], found["untested"]) == (2, 1)


def test_gates_are_families_of_their_own_and_a_cell_may_lack_one():
    found = family({"a": {"smoke": result(True, latency=0.01)}, "b": {"mock": result(True)}})
    assert set(found) == {"smoke", "mock"} and set(found["smoke"]["cells"]) == {"a"}
    assert found["mock"]["size"] == 0 and found["mock"]["passed"] == 1


@pytest.mark.parametrize("gain", [0, 3])
def test_the_family_wise_error_rate_stays_at_its_level_where_single_tests_do_not(gain):
    # 8 cells of 5 processes whose true change is exactly the threshold; `gain` of them are far beyond it
    rng = np.random.default_rng(gain)
    trials, cells = 1500, 8
    units = rng.normal(0, 0.01, (trials, cells, 5))
    units[:, :gain] -= 0.2
    single = family_wise = 0
    for trial in units:
        p = [float(t_test(x, 0.0, "less")) for x in trial]  # type: ignore[arg-type]
        single += any(v <= ONE_SIDED for v in p[gain:])
        family_wise += any(v <= ONE_SIDED for v in holm(p)[gain:])
    assert family_wise / trials <= ONE_SIDED + 0.012
    assert single / trials > 0.09
