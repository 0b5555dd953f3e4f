from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from icd.errors import ConfigError
from icd.stats.compare import compare
from icd.stats.gates import ONE_SIDED, Gate, name_in_record

from .build import sample

CONF = Path(__file__).parents[2] / "conf" / "gate"


def gate(name: str, **changes: object) -> Gate:
    fields = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert fields.pop("_target_") == "icd.stats.gates.Gate"
    return Gate(**{**fields, **changes})


def metrics(**blocks: object) -> dict:
    """A run that passes every gate, with blocks of iterative_vs_linear replaced."""
    found = {
        "latency": {"delta_pct": -30.0, "ci95": [-31.0, -29.0], "source": "measured"},
        "l2_pp": {"delta": 20.0, "ci95": [18.0, 22.0], "source": "measured"},
        "ept": {"delta_pct": -30.0, "ci95": [-33.0, -27.0], "source": "measured"},
        "cost": {"C_delta_pct": -12.0, "Q_delta": 0.0},
        "quality_pp": 0.0,
    }
    return {"compare": {"iterative_vs_linear": {**found, **blocks}}, "tags": []}


def latency(lo: float, hi: float, **fields: object) -> dict:
    return {"delta_pct": (lo + hi) / 2, "ci95": [lo, hi], "source": "measured", **fields}


def outcome(result: dict, name: str) -> dict:
    return next(check for check in result["checks"] if check["name"] == name)


@pytest.mark.parametrize(
    ("name", "thresholds"),
    [
        ("none", {}),
        ("mock", {"cost_c": -10.0, "q_not_lower": 0.0}),
        ("smoke", {"latency": -10.0, "l2": 5.0, "ept": -8.0}),
        ("strict", {"latency": -20.0, "l2": 10.0, "ept": -15.0, "quality_loss": 0.1}),
    ],
)
def test_shipped_gates_hold_the_documented_thresholds(name, thresholds):
    assert gate(name).name == name
    assert gate(name).thresholds() == thresholds
    assert gate(name).evaluate(metrics())["pass"] is True


def test_every_shipped_gate_lists_every_field_so_that_all_can_be_overridden():
    files = sorted(CONF.glob("*.yaml"))
    assert [f.stem for f in files] == ["mock", "none", "smoke", "strict"]
    for file in files:
        assert file.read_text().startswith("_target_:")
        assert set(yaml.safe_load(file.read_text())) == {"_target_", *Gate.__dataclass_fields__}


@pytest.mark.parametrize(
    "change", [{"latency_pct": 1000.0}, {"require": ["latency"]}, {"compare": "sliced_vs_linear"}]
)
def test_a_published_name_stands_for_the_published_thresholds_alone(change):
    fields = asdict(gate("smoke"))
    assert name_in_record(fields, asdict(gate("smoke"))) == "smoke"
    assert name_in_record({**fields, "require": ()}, fields) == "smoke"
    assert name_in_record({**fields, **change}, fields) == "smoke-own"
    assert name_in_record({**fields, "name": "ours", **change}, None) == "ours"


def test_gate_none_passes_with_no_checks():
    assert gate("none").evaluate({}) == {"pass": True, "checks": []}


@pytest.mark.parametrize(
    ("changes", "check", "expected"),
    [
        ({"latency": latency(-31, -20.0)}, "latency", True),  # the bound itself passes
        ({"latency": latency(-40, -19.9)}, "latency", False),  # the mean would pass, the bound does not
        ({"latency": latency(5, 6)}, "latency", False),
        ({"l2_pp": {"delta": 15.0, "ci95": [10.0, 20.0], "source": "measured"}}, "l2", True),
        ({"l2_pp": {"delta": 15.0, "ci95": [9.9, 20.1], "source": "measured"}}, "l2", False),
        ({"ept": latency(-16, -15)}, "ept", True),
        ({"ept": latency(-20, -14)}, "ept", False),
        ({"quality_pp": -0.1}, "quality_loss", True),
        ({"quality_pp": -0.2}, "quality_loss", False),
        ({"quality_pp": 3.0}, "quality_loss", True),
    ],
)
def test_strict_decides_on_interval_bounds(changes, check, expected):
    result = gate("strict").evaluate(metrics(**changes))
    assert outcome(result, check)["pass"] is expected
    assert result["pass"] is expected
    assert (outcome(result, check)["reason"] is None) is expected


def test_a_failed_check_says_which_end_missed_what():
    result = gate("strict").evaluate(metrics(latency=latency(-40, -19)))
    assert outcome(result, "latency") == {
        "name": "latency",
        "threshold": -20.0,
        "value": -29.5,
        "ci95": [-40, -19],
        "p_value": None,
        "p_reason": "no units recorded",
        "pass": False,
        "reason": "upper end -19 is not at most -20",
        "required": True,
    }


@pytest.mark.parametrize(
    ("c", "q", "expected"),
    [(-10.0, 0.0, True), (-9.9, 0.1, False), (-50.0, -0.01, False), (-10.0, -1e-15, True)],
)
def test_mock_wants_a_lower_cost_and_no_lower_modularity(c, q, expected):
    assert gate("mock").evaluate(metrics(cost={"C_delta_pct": c, "Q_delta": q}))["pass"] is expected


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        ({"delta_pct": None, "ci95": None, "reason": "no energy counter"}, "no energy counter"),
        ({"delta_pct": -30.0, "ci95": None, "source": "measured", "reason": "got 1"}, "got 1"),
        ({"delta_pct": -30.0, "ci95": None, "source": "simulated", "reason": "simulated"}, "simulated"),
        ({"delta_pct": -30.0, "ci95": [-31.0, -29.0], "source": "simulated"}, "simulated"),
        ({"delta_pct": 30.0, "ci95": [29.0, 31.0], "source": "simulated"}, "simulated"),
        ({"delta_pct": -30.0, "ci95": [-31.0, -29.0]}, "source not recorded"),
        ({"delta_pct": -30.0, "source": "measured"}, "no interval recorded"),
        ({"delta_pct": float("nan"), "ci95": [-31.0, -29.0], "source": "measured"}, "no delta_pct recorded"),
        (None, "no delta_pct recorded"),
    ],
)
def test_a_missing_or_simulated_figure_is_neither_pass_nor_fail(block, reason):
    result = gate("smoke").evaluate(metrics(ept=block))
    assert outcome(result, "ept")["pass"] is None
    assert outcome(result, "ept")["reason"] == reason
    assert result["pass"] is None


def test_a_computed_figure_that_is_not_there_is_neither_pass_nor_fail():
    assert gate("strict").evaluate(metrics(quality_pp=None))["pass"] is None
    result = gate("mock").evaluate(metrics(cost={"C_delta_pct": None, "Q_delta": 0.1, "reason": "no graph"}))
    assert [(c["pass"], c["reason"]) for c in result["checks"]] == [(None, "no graph"), (True, None)]


def test_one_failed_check_outweighs_a_missing_one():
    assert gate("smoke").evaluate(metrics(ept=None, latency=latency(-9, -8)))["pass"] is False


def test_require_narrows_what_counts_but_not_what_is_recorded():
    record = metrics(ept=None, l2_pp={"delta": 0.0, "ci95": [0.0, 0.0], "source": "measured"})
    assert gate("smoke").evaluate(record)["pass"] is False
    result = gate("smoke", require=["latency"]).evaluate(record)
    assert result["pass"] is True
    assert [(c["name"], c["required"]) for c in result["checks"]] == [
        ("latency", True),
        ("l2", False),
        ("ept", False),
    ]


def test_require_of_an_unknown_check_names_those_there_are():
    with pytest.raises(ConfigError, match="gate smoke has no check speed; its checks: latency, l2, ept"):
        gate("smoke", require=["speed"])
    with pytest.raises(ConfigError, match="gate none has no check latency; its checks: none"):
        gate("none", require=["latency"])


@pytest.mark.parametrize("name", ["mock", "smoke", "strict"])
def test_an_unpaired_run_never_passes(name):
    record = {**metrics(), "tags": ["unpaired", "time-limited"]}
    result = gate(name).evaluate(record)
    assert result["pass"] is None
    assert {c["reason"] for c in result["checks"]} == {"unpaired run"}


def test_an_unpaired_run_can_still_fail_on_a_computed_cost():
    record = {**metrics(cost={"C_delta_pct": 1.0, "Q_delta": 0.0}), "tags": ["unpaired"]}
    assert gate("mock").evaluate(record)["pass"] is False


@pytest.mark.parametrize("name", ["smoke", "strict"])
def test_figures_of_a_python_loop_pass_no_measured_check_and_computed_ones_still_count(name):
    record = {**metrics(latency=measured(-30.0, -31.0, -32.0)), "tags": ["reference-scan"]}
    result = gate(name).evaluate(record)
    assert result["pass"] is None
    for check in result["checks"]:
        if check["name"] == "quality_loss":
            assert check["pass"] is True
        else:
            assert check["pass"] is None and check["p_value"] is None and "Python loop" in check["reason"]
    assert gate("mock").evaluate(record)["pass"] is True


def test_another_comparison_can_be_judged_and_an_absent_one_is_undecided():
    record = metrics()
    record["compare"]["linear_vs_dense"] = {"latency": latency(-5, -4)}
    assert gate("smoke", compare="linear_vs_dense", require=["latency"]).evaluate(record)["pass"] is False
    result = gate("smoke", compare="iterative_vs_dense").evaluate(record)
    assert result["pass"] is None
    assert result["checks"][0]["reason"] == "no comparison iterative_vs_dense in this run"


def test_evaluation_leaves_the_metrics_alone():
    record = metrics()
    before = copy.deepcopy(record)
    gate("strict").evaluate(record)
    assert record == before


def measured(*units: float) -> dict:
    """A latency comparison as `compare` makes it, from one value a process in percent."""
    rows = [
        sample(arm, 100 * (1 + change), process=p)
        for p, unit in enumerate(units)
        for arm, change in (("iterative", unit / 100), ("linear", 0.0))
    ]
    return compare(rows, "latency_ms", "iterative", "linear", floor=0.5, equivalence=1.0)


def test_the_p_value_is_that_of_a_one_sided_t_test_of_log_ratios_against_the_threshold():
    units = [-24.0, -22.0, -26.0, -21.0, -23.5]
    check = outcome(gate("strict").evaluate(metrics(latency=measured(*units))), "latency")
    expected = stats.ttest_1samp(np.log1p(np.array(units) / 100), np.log(0.8), alternative="less")
    assert check["p_value"] == pytest.approx(expected.pvalue, rel=1e-9)


def test_a_difference_in_points_is_tested_the_other_way_round():
    l2 = {"delta": 7.0, "ci95": [6.0, 8.0], "source": "measured", "units": [6.5, 7.0, 7.5]}
    check = outcome(gate("smoke").evaluate(metrics(l2_pp=l2)), "l2")
    assert check["p_value"] == pytest.approx(
        stats.ttest_1samp(l2["units"], 5.0, alternative="greater").pvalue, rel=1e-9
    )


@pytest.mark.parametrize("seed", range(30))
def test_an_interval_clears_the_threshold_exactly_when_p_is_at_most_one_sided(seed):
    units = np.random.default_rng(seed).normal(-21.5, 1.0, 4)
    check = outcome(gate("strict").evaluate(metrics(latency=measured(*units))), "latency")
    assert check["pass"] is (check["p_value"] <= ONE_SIDED)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (None, "no delta_pct recorded"),
        ({"delta_pct": -30.0, "ci95": None, "source": "simulated", "reason": "simulated"}, "simulated"),
    ],
)
def test_a_figure_that_cannot_be_tested_has_no_p_and_a_reason(block, reason):
    check = outcome(gate("smoke").evaluate(metrics(ept=block)), "ept")
    assert (check["p_value"], check["p_reason"]) == (None, reason)


def test_a_computed_figure_has_no_p_and_an_unpaired_run_none_at_all():
    cost = outcome(gate("mock").evaluate(metrics()), "cost_c")
    assert cost["p_value"] is None and "p_reason" not in cost
    record = {**metrics(latency=measured(-30.0, -31.0, -32.0)), "tags": ["unpaired"]}
    check = outcome(gate("smoke").evaluate(record), "latency")
    assert (check["p_value"], check["p_reason"]) == (None, "unpaired run")
