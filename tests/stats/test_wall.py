"""The cross-check of events by the host's clock."""

from __future__ import annotations

import pytest

from icd.contracts import Sample
from icd.stats.wall import wall_check


def block(arm, number, events, wall):
    rows = [
        Sample(arm, "latency_ms", 0, 0, number, 0, i, ms, "ms", "measured") for i, ms in enumerate(events)
    ]
    return [*rows, Sample(arm, "wall_ms", 0, 0, number, 0, 0, wall, "ms", "measured")]


def test_the_hosts_clock_is_compared_block_by_block_with_the_mean_of_the_events():
    samples = block("dense", 0, [1.0, 3.0], 2.04) + block("dense", 1, [2.0, 2.0], 2.02)
    samples += block("dense", 2, [2.0, 2.0], 9.0)
    assert wall_check(samples) == {"dense": pytest.approx(2.0)}


def test_without_events_there_is_nothing_to_check():
    assert wall_check([Sample("dense", "latency_ms", 0, 0, 0, 0, 0, 1.0, "ms", "measured")]) is None
