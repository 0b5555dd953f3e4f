"""One process's latency rounds: fixed or adaptive, balanced at the end, with what ended them on record."""

from __future__ import annotations

import numpy as np
import pytest

from icd.measure import latency
from icd.measure.latency import Block
from icd.measure.protocol import Protocol
from icd.pipeline import timing
from icd.pipeline.timing import Timing
from icd.stats.width import stopped
from tests.measure.test_adaptive import Clock

ARMS = ("dense", "linear", "iterative", "aa")


class Step:
    executed = {"source": "measured"}  # noqa: RUF012

    def __init__(self, name):
        self.name = name


@pytest.fixture
def timed(monkeypatch):
    """Timing of invented blocks: 1 s each on a clock of its own, latencies with ``spread``."""

    def go(spread, **changes):
        clock, rng = Clock(), np.random.default_rng(0)

        def block(step, iterations, device, flush=None):
            clock.sleep(1.0)
            return Block([10.0 * (1 + spread * rng.standard_normal())] * iterations)

        monkeypatch.setattr(latency, "time_block", block)
        protocol = Protocol("test", 1, 2, 3, 2, 0, ncu_enable=False, power_enable=False, **changes)
        done = []
        process = Timing(protocol, 0, "cpu", None, done.append, clock)
        samples = []
        for allocation in range(2):
            steps = {name: Step(name) for name in ARMS}
            samples += process.allocation(steps, allocation, seed=allocation).samples
        assert done == list(range(len(done)))
        return process.summary()["stopped"], samples, clock.now()

    return go


def balanced(samples):
    """Whether every arm took every position equally often in each allocation."""
    for allocation in (0, 1):
        where = {(s.arm, s.order, s.round) for s in samples if s.allocation == allocation}
        counts = np.array([[sum(a == arm and o == k for a, o, _ in where) for k in range(4)] for arm in ARMS])
        if not (counts == counts[0, 0]).all():
            return False
    return True


def test_a_fixed_stop_takes_the_rounds_asked_for_and_records_the_width(timed):
    found, samples, _ = timed(0.001)
    assert (found["criterion"], found["rounds"]) == ("rounds", 6) and found["width_pct"] > 0
    assert stopped([found], samples, ARMS) == [found]


def test_an_adaptive_stop_ends_on_width_with_balanced_rounds(timed):
    found, samples, _ = timed(0.005, stop="adaptive", target_width_pct=1.0, time_budget_s=1e6)
    assert found["criterion"] == "width" and found["width_pct"] <= 1.0
    assert found["rounds"] > 8 and balanced(samples)
    assert stopped([found], samples, ARMS) == [found]


def test_an_adaptive_stop_ends_on_time_with_balanced_rounds_in_every_allocation(timed):
    found, samples, took = timed(0.05, stop="adaptive", target_width_pct=0.01, time_budget_s=200.0)
    assert found["criterion"] == "time_budget" and took <= 200.0 and balanced(samples)
    rounds = [a["rounds"] for a in found["allocations"]]
    assert min(rounds) > 8 and abs(rounds[0] - rounds[1]) <= 4


def test_the_load_is_read_at_the_start_and_after_every_round(timed, monkeypatch):
    loads = iter([0.5, 1.0, 7.0, *([2.0] * 99)])
    monkeypatch.setattr(timing, "load_1min", lambda: next(loads))
    process = Timing(Protocol("t", 1, 1, 3, 1, 0, False, False), 0, "cpu", None, lambda n: None, Clock())
    monkeypatch.setattr(latency, "time_block", lambda step, n, device, flush=None: Block([1.0] * n))
    process.allocation({name: Step(name) for name in ARMS}, 0, seed=0)
    said = process.summary()
    assert (said["load_start"], said["load_1min"]) == (0.5, 7.0) and said["clocks_set"] is None
    assert said["blocks"] == [{"metric": "latency_ms", "allocation": 0, "rounds": 3, "iterations": 1}]


def test_cold_rounds_flush_before_every_block_and_never_mix_with_warm_ones(monkeypatch):
    seen = []

    def block(step, iterations, device, flush=None):
        seen.append(flush)
        return Block([1.0] * iterations)

    monkeypatch.setattr(latency, "time_block", block)
    monkeypatch.setattr(timing, "Flush", lambda device: f"flush of {device}")
    protocol = Protocol("t", 1, 1, 3, 2, 0, False, False, cold_rounds=2)
    process = Timing(protocol, 0, "cuda:0", None, lambda n: None, Clock())
    steps = {name: Step(name) for name in ARMS}
    warm, cold = process.allocation(steps, 0, seed=0), process.cold(steps, seed=1)
    assert {s.metric for s in warm.samples} == {"latency_ms"}
    assert {s.metric for s in cold.samples} == {"latency_cold_ms"}
    assert len(cold.samples) == 2 * len(ARMS) * 2
    assert seen[-2 * len(ARMS) :] == ["flush of cuda:0"] * 2 * len(ARMS)


@pytest.mark.parametrize(
    ("device", "rounds", "reason"),
    [("cuda:0", 0, "measure.cold_rounds=0"), ("cpu", 2, "the device is a CPU: a cold cache")],
)
def test_without_cold_rounds_the_reason_is_there(device, rounds, reason):
    protocol = Protocol("t", 1, 1, 3, 2, 0, False, False, cold_rounds=rounds)
    assert reason in Timing(protocol, 0, device, None, lambda n: None, Clock()).cold({}, seed=1).reason
