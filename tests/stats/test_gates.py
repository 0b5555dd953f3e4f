from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from icd.errors import ConfigError
from icd.stats.gates import Gate

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
