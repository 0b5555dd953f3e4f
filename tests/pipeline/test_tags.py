"""Tags say what was seen: clocks that nobody held, a machine that was busy."""

from __future__ import annotations

import pytest

from icd.pipeline.tags import busy, clock_tags, tags


@pytest.mark.parametrize(
    ("held", "tags"),
    [
        ((True, True), set()),
        ((False, False), {"unlocked"}),
        ((True, False), {"unlocked"}),
        ((None, None), {"clocks-unknown"}),
        ((True, None), {"clocks-unknown"}),
        ((False, None), {"unlocked"}),
    ],
)
def test_unlocked_is_said_only_where_free_clocks_were_seen(held, tags):
    assert clock_tags([{"clocks_set": value} for value in held]) == tags


@pytest.mark.parametrize(
    ("start", "loads", "cores", "said"),
    [
        (0.1, (1.9, 2.2), 2, False),
        (0.1, (1.9, 2.6), 2, True),
        (3.0, (0.0, 0.0), 2, True),
        (3.0, (0.0, 0.0), 64, False),
        (None, (None, None), 2, False),
    ],
)
def test_busy_is_a_load_noticeably_above_the_machines_cores(start, loads, cores, said):
    cpu = {"machine_cores": cores, "load_1min": start}
    assert busy(cpu, [{"load_1min": load} for load in loads]) is said


@pytest.mark.parametrize(
    ("source", "own", "said"),
    [
        ("measured", [], set()),
        ("simulated", [], {"simulated", "emulated"}),
        ("simulated", ["simulated"], {"simulated"}),
    ],
)
def test_a_precision_that_is_not_executed_is_emulated_and_a_device_simulated(source, own, said):
    blocks = ("latency_ms", "latency_cold_ms", "l2", "l2_cold", "energy")
    record = {
        "model": {"tags": own, "weights": "pretrained"},
        "arms": {"dense": {block: {"source": source} for block in blocks}},
        "solver": {"time_limited": []},
        "config": {"measure": "paper", "device": "cpu"},
        "rollback": {"triggered": False},
        "iterations": [],
        "compare": {},
        "derivation": {},
    }
    env = {"measured": [{"throttling": [], "load_1min": 0.0}], "cpu": {"machine_cores": 2, "load_1min": 0.0}}
    assert set(tags(record, env)) == said
