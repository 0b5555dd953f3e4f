"""Energy above idle: what the counter gave less what an idle device draws in the same time."""

from __future__ import annotations

import pytest

from icd.stats.derive import derive

from .build import by_process, experiment

FORWARDS = {"iterations": 1, "rounds": 1, "allocations": 1, "processes": 3}
ARMS = ("linear", "iterative")


def energy(watts, idle, joules=(2.0, 1.5)):
    """Blocks of two arms: J a forward, power of each arm, idle power."""

    def both(metric, values, unit):
        arms = {arm: by_process(v, v * 1.001, v * 0.999) for arm, v in zip(ARMS, values, strict=True)}
        return experiment(arms, metric=metric, unit=unit, **FORWARDS)

    return [
        *both("energy_j", joules, "J"),
        *both("watts", watts, "W"),
        *experiment({arm: by_process(idle) for arm in ARMS}, metric="idle_watts", **FORWARDS),
    ]


def test_the_idle_share_is_taken_off_each_block():
    out = derive(energy((200.0, 150.0), 50.0), ARMS, device="cuda", tokens=10)
    linear, iterative = (out["arms"][arm]["energy"] for arm in ARMS)
    assert linear["ept_j"] == pytest.approx(0.2) and linear["ept_net_j"] == pytest.approx(0.15, rel=1e-3)
    assert iterative["ept_net_j"] == pytest.approx(0.1, rel=1e-3)
    compare = out["compare"]["iterative_vs_linear"]
    assert compare["ept"]["delta_pct"] == pytest.approx(-25.0, abs=0.1)
    assert compare["ept_net"]["delta_pct"] == pytest.approx(-100 / 3, abs=0.1)


def test_work_that_draws_no_more_than_idling_has_a_figure_and_no_ratio():
    out = derive(energy((200.0, 50.0), 50.0), ARMS, device="cuda", tokens=10)
    assert out["arms"]["iterative"]["energy"]["ept_net_j"] == pytest.approx(0.0, abs=1e-3)
    net = out["compare"]["iterative_vs_linear"]["ept_net"]
    assert net["delta_pct"] is None and "there is no ratio" in net["reason"]
    assert out["compare"]["iterative_vs_linear"]["ept"]["verdict"] == "WIN"


def test_without_idle_power_there_is_no_figure_above_idle():
    rows = [s for s in energy((200.0, 150.0), 50.0) if s.metric != "idle_watts"]
    block = derive(rows, ARMS, device="cuda", tokens=10)["arms"]["linear"]["energy"]
    assert block["ept_j"] and block["ept_net_j"] is None and block["reason"]
