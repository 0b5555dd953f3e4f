from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.contracts import Missing, Sample
from icd.errors import MeasurementError
from icd.stats.units import Units, paired, series

from .build import by_process, experiment, sample


def plain_units(samples: list[Sample], metric: str, a: str, b: str) -> list[float]:
    """Twin of `paired` with means: nested loops, as the definition reads."""

    def block(arm: str, key: tuple[int, int, int]) -> float | None:
        values = sorted(
            s.value
            for s in samples
            if (s.arm, s.metric, (s.process, s.allocation, s.round)) == (arm, metric, key)
        )
        if not values:
            return None
        middle = len(values) // 2
        return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2

    keys = sorted({(s.process, s.allocation, s.round) for s in samples})
    out = []
    for p in sorted({k[0] for k in keys}):
        allocations = []
        for al in sorted({k[1] for k in keys if k[0] == p}):
            ratios = []
            for key in keys:
                x, y = block(a, key), block(b, key)
                if key[:2] == (p, al) and x is not None and y is not None:
                    ratios.append(math.log(x / y))
            if ratios:
                allocations.append(sum(ratios) / len(ratios))
        if allocations:
            out.append(sum(allocations) / len(allocations))
    return out


def found(result: Units | Missing) -> Units:
    assert isinstance(result, Units), result
    return result


@given(st.integers(0, 2**32 - 1))
def test_units_equal_the_plain_twin_with_ragged_blocks_and_lost_rounds(seed):
    rng = random.Random(seed)
    rows = [
        sample(arm, rng.lognormvariate(0, 0.3), process=p, allocation=al, round=r, iteration=i)
        for arm in ("a", "b")
        for p in range(3)
        for al in range(rng.randint(1, 3))
        for r in range(rng.randint(1, 4))
        for i in range(rng.randint(1, 4))
        if rng.random() < 0.8
    ]
    result = paired(rows, "latency_ms", "a", "b", summary="mean")
    expected = plain_units(rows, "latency_ms", "a", "b")
    if isinstance(result, Missing):
        assert expected == []
    else:
        np.testing.assert_allclose(result.units, expected, rtol=1e-12, atol=1e-12)
        assert len(result.processes) == len(expected)


def test_a_unit_by_hand():
    value = {(0, 0): 2.0, (0, 1): 8.0, (1, 0): 4.0}  # (allocation, round) -> a's block; b is 1
    rows = [sample("a", v, allocation=al, round=r) for (al, r), v in value.items()]
    rows += [sample("b", 1.0, allocation=al, round=r) for al, r in value]
    units = found(paired(rows, "latency_ms", "a", "b", summary="mean"))
    # allocation 0: mean of log 2 and log 8 = log 4; allocation 1: log 4
    np.testing.assert_allclose(units.units, [math.log(4)])
    np.testing.assert_allclose(units.rounds, np.log([2, 8, 4]))
    assert units.allocation.tolist() == [0, 0, 1]
    assert units.round.tolist() == [0, 1, 0]


def test_a_block_is_its_median_so_one_hiccup_does_not_count():
    rows = [sample("a", v, iteration=i) for i, v in enumerate([1.0, 1.0, 900.0])] + [sample("b", 1.0)]
    assert found(paired(rows, "latency_ms", "a", "b")).units.tolist() == [0.0]


@given(st.permutations(range(24)))
def test_the_order_of_the_rows_does_not_matter(order):
    rows = experiment(
        {"a": lambda p, a, r: 1 + p + a / 3 + r / 7, "b": by_process(2.0)}, processes=2, iterations=1
    )
    shuffled = [rows[i] for i in order]
    first, second = (found(paired(x, "latency_ms", "a", "b")) for x in (rows, shuffled))
    assert np.array_equal(first.units, second.units)


@given(st.floats(0.01, 100))
def test_swapping_the_arms_negates_and_a_common_factor_cancels(factor):
    rows = experiment({"a": lambda p, a, r: 1 + p / 5 + r / 9, "b": lambda p, a, r: 1 + a / 7})
    scaled = [s._replace(value=s.value * factor) for s in rows]
    units = found(paired(rows, "latency_ms", "a", "b")).units
    np.testing.assert_allclose(found(paired(rows, "latency_ms", "b", "a")).units, -units, atol=1e-12)
    np.testing.assert_allclose(found(paired(scaled, "latency_ms", "a", "b")).units, units, atol=1e-9)


def test_differences_are_in_the_metric_s_unit():
    rows = experiment({"a": by_process(63.0), "b": by_process(43.0)}, metric="l2_served_pct", processes=2)
    units = found(paired(rows, "l2_served_pct", "a", "b", kind="difference"))
    assert units.units.tolist() == [20.0, 20.0]
    assert units.kind == "difference"


def test_rounds_of_one_arm_only_are_counted_not_used():
    rows = [sample("a", 2.0, round=r) for r in range(3)] + [sample("b", 1.0, round=r) for r in (1, 2, 5, 6)]
    units = found(paired(rows, "latency_ms", "a", "b"))
    assert (units.round.tolist(), units.unpaired) == ([1, 2], 3)


def test_what_cannot_be_paired_is_missing_with_a_sentence():
    a, b = [sample("a")], [sample("b")]
    for rows, words in [
        (b, "no latency_ms samples of arm a"),
        (a, "no latency_ms samples of arm b"),
        ([*a, sample("b", process=1)], "have no (process, allocation, round) in common"),
        ([*a, sample("b", source="simulated")], "measured for arm a and simulated for arm b"),
    ]:
        result = paired(rows, "latency_ms", "a", "b")
        assert isinstance(result, Missing)
        assert words in result.reason


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([sample("a", math.nan)], "finite"),
        ([sample("a"), sample("a")], "recorded twice"),
        (
            [sample("a"), sample("a", iteration=1, source="simulated")],
            "one source, got measured and simulated",
        ),
        ([sample("a"), sample("a", iteration=1, unit="us")], "one unit, got ms and us"),
        ([sample("a", 0.0)], "needs values > 0"),
        ([sample("a", unit="us")], "arm a is in us, arm b in ms"),
    ],
)
def test_contradicting_samples_are_refused(rows, words):
    with pytest.raises(MeasurementError, match=words):
        paired([*rows, sample("b")], "latency_ms", "a", "b")


def test_series_keeps_iterations_in_order():
    rows = [sample("a", float(i), iteration=i) for i in (2, 0, 1)]
    result = series(rows, "latency_ms", "a")
    assert not isinstance(result, Missing)
    assert list(result.blocks.values()) == [[0.0, 1.0, 2.0]]


def test_dram_traffic_of_zero_has_no_ratio_and_says_so_while_a_latency_of_zero_is_an_error():
    rows = [sample(arm, 0.0)._replace(metric="dram_bytes_per_token", unit="B") for arm in "ab"]
    found = paired(rows, "dram_bytes_per_token", "a", "b")
    assert isinstance(found, Missing) and "is 0" in found.reason
