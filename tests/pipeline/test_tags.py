"""Tags say what was seen: clocks that nobody held, a machine that was busy."""

from __future__ import annotations

import pytest

from icd.pipeline.tags import busy, clock_tags, tags

BLOCKS = ("latency_ms", "latency_cold_ms", "l2", "l2_cold", "energy")
RECORD = {
    "model": {"tags": [], "weights": "pretrained"},
    "arms": {},
    "solver": {"time_limited": []},
    "config": {"measure": "paper", "device": "cpu"},
    "rollback": {"triggered": False},
    "iterations": [],
    "compare": {},
    "derivation": {},
}


def seen(processes):
    """``env.json`` of processes that saw nothing but what is said of each."""
    quiet = {"throttling": [], "load_1min": 0.0}
    return {"measured": [{**quiet, **p} for p in processes], "cpu": {"machine_cores": 2, "load_1min": 0.0}}


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


@pytest.mark.parametrize(("beside", "said"), [((0, 0), False), ((None, 2), True), ((None, None), False)])
def test_a_gpu_that_others_compute_on_is_shared(beside, said):
    assert ("shared-gpu" in tags(RECORD, seen([{"other_processes": n} for n in beside]))) is said


def test_records_that_do_not_say_who_else_was_there_are_as_they_were():
    assert "shared-gpu" not in tags(RECORD, seen([{}]))


@pytest.mark.parametrize(
    ("source", "own", "said"),
    [
        ("measured", [], set()),
        ("simulated", [], {"simulated", "emulated"}),
        ("simulated", ["simulated"], {"simulated"}),
    ],
)
def test_a_precision_that_is_not_executed_is_emulated_and_a_device_simulated(source, own, said):
    arms = {"dense": {block: {"source": source} for block in BLOCKS}}
    record = {**RECORD, "model": {"tags": own, "weights": "pretrained"}, "arms": arms}
    assert set(tags(record, seen([{}]))) == said


@pytest.mark.parametrize(
    ("weights", "tag"),
    [("random", {"random-weights"}), ("unknown", {"unknown-weights"}), ("pretrained", set())],
)
def test_what_is_known_of_the_weights_is_a_tag_and_a_caveat(weights, tag):
    from icd.report.caveats import BADGES, caveats

    record = {**RECORD, "model": {"tags": [], "weights": weights}}
    found = {t for t in tags(record, seen([])) if t.endswith("-weights")}
    assert found == tag <= set(BADGES)
    said = " ".join(caveats({**record, "tags": list(found)}, {}))
    assert ("Nobody said whether the weights are trained" in said) == (weights == "unknown")
