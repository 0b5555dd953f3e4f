from __future__ import annotations

import json
import math
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icd.contracts import Sample
from icd.errors import MeasurementError
from icd.stats.derive import COMPARISONS, derive, equal

from .build import by_process, experiment, sample

ARMS = ("dense", "linear", "sliced", "iterative", "shuffle", "aa")
LEVEL = {"dense": 2.0, "linear": 1.5, "sliced": 1.01, "iterative": 1.0, "shuffle": 1.5, "aa": 1.5}


def full_run(metric: str = "latency_ms", spread: float = 0.001, **fields: object) -> list[Sample]:
    """Six arms whose latencies are LEVEL, with a process effect of `spread`, different for every arm."""

    def arm(index: int, level: float):
        return lambda p, a, r: level * (1 + spread * math.sin(7 * p + 3 * index + a))

    return experiment({name: arm(i, LEVEL[name]) for i, name in enumerate(ARMS)}, metric=metric, **fields)


def test_a_full_run_has_every_arm_and_comparison():
    out = derive(full_run(), ARMS, device="cuda", tokens=128)
    assert set(out["arms"]) == set(ARMS)
    assert set(out["compare"]) == set(COMPARISONS)
    latency = out["compare"]["iterative_vs_linear"]["latency"]
    assert latency["delta_pct"] == pytest.approx(-100 / 3, abs=0.2)
    assert (latency["verdict"], latency["n_units"]) == ("WIN", 5)
    assert out["compare"]["shuffle_vs_linear"]["latency"]["verdict"] == "EQUIVALENT"
    assert out["compare"]["aa"]["latency"]["verdict"] == "EQUIVALENT"


@pytest.mark.parametrize(
    ("arms", "expected"),
    [
        (("dense",), set()),
        (("dense", "linear", "aa"), {"linear_vs_dense", "aa"}),
        (ARMS, set(COMPARISONS)),
    ],
)
def test_comparisons_of_absent_arms_are_left_out(arms, expected):
    assert set(derive(full_run(), arms, device="cpu", tokens=1)["compare"]) == expected


def test_throughput_is_tokens_over_mean_latency():
    rows = experiment({"dense": by_process(4.0, 6.0)}, processes=2)
    arm = derive(rows, ["dense"], device="cpu", tokens=1024)["arms"]["dense"]
    assert arm["throughput_tok_s"] == pytest.approx(1024 / 5e-3)
    silent = derive(rows, ["dense"], device="cpu", tokens=0)["arms"]["dense"]
    assert silent["throughput_tok_s"] is None
    assert "tokens" in silent["reason"]


def test_a_noisy_aa_raises_the_floor_of_the_other_comparisons_but_not_its_own():
    rows = [s for s in full_run() if s.arm not in ("aa", "iterative")]
    rows += experiment({"aa": by_process(1.5, 1.54, 1.46, 1.53, 1.47), "iterative": by_process(1.47, 1.471)})
    out = derive(rows, ARMS, device="cuda", tokens=1)["compare"]
    aa = out["aa"]["latency"]
    assert aa["floor_pct"] == 0.5
    assert "floor_reason" not in aa
    assert aa["verdict"] == "AMBIGUOUS"
    floor = out["iterative_vs_linear"]["latency"]["floor_pct"]
    assert floor == max(abs(end) for end in aa["ci95"])
    assert floor > 2
    assert out["iterative_vs_linear"]["latency"]["verdict"] != "WIN"  # -2 %, tight, but below the floor
    quiet = derive([s for s in rows if s.arm != "aa"], ARMS[:-1], device="cuda", tokens=1)["compare"]
    assert quiet["iterative_vs_linear"]["latency"]["verdict"] == "WIN"
    assert quiet["iterative_vs_linear"]["latency"]["floor_reason"] == "no A/A control in this run"


def test_p_values_are_corrected_over_the_comparisons_without_aa():
    out = derive(full_run(spread=0.2), ARMS, device="cuda", tokens=1)["compare"]
    raw = {name: block["latency"]["p_value"] for name, block in out.items() if name != "aa"}
    smallest = min(raw, key=lambda name: raw[name])
    assert out[smallest]["latency"]["p_holm"] == pytest.approx(min(1.0, len(raw) * raw[smallest]))
    assert "p_holm" not in out["aa"]["latency"]


def test_figures_without_samples_are_null_with_a_reason():
    out = derive(
        full_run(),
        ARMS,
        device="cpu",
        tokens=1,
        reasons={"energy_j": "no energy counter", "latency_ms": "unused"},
    )
    blocks = out["compare"]["iterative_vs_linear"]
    assert (blocks["ept"]["delta_pct"], blocks["ept"]["reason"]) == (None, "no energy counter")
    assert blocks["dram"]["reason"] == "no dram_bytes_per_token samples of arm iterative"
    assert "floor_pct" not in blocks["dram"]
    assert (blocks["l2_pp"]["delta"], blocks["l2_pp"]["ci95"], blocks["l2_pp"]["regime"]) == (
        None,
        None,
        None,
    )
    assert blocks["l2_pp"]["reason"] == "no l2_served_pct samples of arm iterative"
    arm = out["arms"]["linear"]
    assert (arm["energy"]["ept_j"], arm["energy"]["source"]) == (None, None)
    assert "no energy counter" in arm["energy"]["reason"]
    assert (arm["l2"]["served_pct"], arm["l2"]["source"]) == (None, None)
    assert "reason" not in blocks["latency"]


def test_an_arm_without_latency_is_null_with_a_reason():
    out = derive([], ["dense", "linear"], device="cpu", tokens=1)
    assert out["arms"]["dense"]["latency_ms"]["mean"] is None
    assert out["arms"]["dense"]["throughput_tok_s"] is None
    assert out["arms"]["dense"]["reason"] == "no latency_ms samples of arm dense"
    assert out["compare"]["linear_vs_dense"]["latency"]["n_units"] == 0


def test_cache_figures_are_compared_in_points_and_traffic_as_a_ratio():
    rows = experiment(
        {"linear": by_process(43.0, 43.1), "iterative": by_process(63.0)}, metric="l2_served_pct"
    )
    rows += experiment(
        {"linear": by_process(50.0), "iterative": by_process(51.0)}, metric="l2_lookup_hit_pct"
    )
    rows += experiment(
        {"linear": by_process(1e6, 1.1e6), "iterative": by_process(5e5)}, metric="dram_bytes_per_token"
    )
    out = derive(rows, ["linear", "iterative"], device="cuda", tokens=8, regime="cold")
    blocks = out["compare"]["iterative_vs_linear"]
    assert blocks["l2_pp"]["delta"] == pytest.approx(19.96)
    assert (blocks["l2_pp"]["metric"], blocks["l2_pp"]["regime"]) == ("l2_served_pct", "cold")
    assert "verdict" not in blocks["l2_pp"]
    assert "reason" not in blocks["l2_pp"]
    assert blocks["dram"]["delta_pct"] < -50
    assert out["arms"]["iterative"]["l2"] == {
        "served_pct": 63.0,
        "lookup_hit_pct": 51.0,
        "dram_bytes_per_token": 5e5,
        "source": "measured",
    }
    other = derive(rows, ["linear", "iterative"], device="cuda", tokens=8, l2_metric="l2_lookup_hit_pct")
    assert other["compare"]["iterative_vs_linear"]["l2_pp"]["delta"] == 1.0


def test_energy_is_per_token_whichever_unit_was_sampled():
    per_token = experiment({"linear": by_process(0.5)}, metric="energy_j")
    per_forward = [s._replace(value=64.0, unit="J") for s in per_token]
    for rows in (per_token, per_forward):
        out = derive(rows, ["linear"], device="cuda", tokens=128)
        assert out["arms"]["linear"]["energy"]["ept_j"] == pytest.approx(0.5)
    with pytest.raises(MeasurementError, match="got mJ"):
        derive([s._replace(unit="mJ") for s in per_token], ["linear"], device="cuda", tokens=128)


def test_a_block_part_measured_part_simulated_is_refused():
    rows = [
        sample("linear", 50.0, "l2_served_pct", source="simulated"),
        sample("linear", 9.0, "dram_bytes_per_token"),
    ]
    with pytest.raises(MeasurementError, match="l2 of arm linear: expected one source"):
        derive(rows, ["linear"], device="cuda", tokens=1)


def test_the_same_samples_in_any_order_give_the_same_record():
    rows = full_run() + full_run("energy_j")
    shuffled = random.Random(0).sample(rows, len(rows))
    first, second = (derive(x, ARMS, device="cuda", tokens=9) for x in (rows, shuffled))
    assert first == second
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_equal_names_the_path_of_every_difference():
    a = {"x": {"y": [1.0, 2.0], "z": None}, "only": 1, "s": "t"}
    b = {"x": {"y": [1.0, 2.1], "z": 0.0}, "more": 1, "s": "u"}
    assert equal(a, b) == [
        "more: only in the second",
        "only: only in the first",
        "s: 't' != 'u'",
        "x.y[1]: 2.0 != 2.1",
        "x.z: None != 0.0",
    ]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.0 + 1e-6, False),
        (1, 1.0, True),
        (0.0, 1e-15, True),
        (True, 1, False),
        ((1, 2), [1, 2], True),
        ([1], [1, 2], False),
        (math.nan, math.nan, True),
        (None, None, True),
        ("1", 1, False),
    ],
)
def test_equal_on_single_values(a, b, same):
    assert (equal({"v": a}, {"v": b}) == []) is same


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@given(JSON, JSON)
def test_equal_is_reflexive_and_symmetric_in_what_it_finds(a, b):
    assert equal(a, json.loads(json.dumps(a))) == []
    assert bool(equal(a, b)) == bool(equal(b, a))


def test_importing_the_statistics_loads_neither_torch_nor_hydra_nor_scipy():
    code = (
        "import sys, icd.stats, icd.stats.derive, icd.stats.gates, icd.stats.design;"
        "print([m for m in ('torch', 'hydra', 'omegaconf', 'scipy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("metric", ["l2_served_pct", "dram_bytes_per_token", "dram_bytes_per_token_cold"])
def test_figures_of_the_cache_have_an_interval_from_three_repetitions_on(metric):
    block = "l2_pp" if metric.startswith("l2") else "dram_cold" if metric.endswith("cold") else "dram"
    for repetitions, known in ((1, False), (2, False), (3, True)):
        rows = full_run(metric, processes=repetitions, allocations=1, rounds=1, iterations=3, unit="%")
        found = derive(rows, ARMS, device="cuda", tokens=1)["compare"]["iterative_vs_linear"][block]
        assert (found["ci95"] is not None) is known and found["n_units"] == repetitions
        assert known or found["p_value"] is None is found["diagnostics"]["ci95_without_outliers"]


def test_a_cold_forward_that_reads_nothing_is_no_error():
    rows = experiment(
        {"iterative": by_process(0.0), "linear": by_process(1.0)},
        metric="dram_bytes_per_token_cold", unit="B", processes=3,
    )  # fmt: skip
    found = derive(rows, ("iterative", "linear"), device="cuda", tokens=1)["compare"]["iterative_vs_linear"]
    assert (
        found["dram_cold"]["delta_pct"] is None and "is 0: there is no ratio" in found["dram_cold"]["reason"]
    )
