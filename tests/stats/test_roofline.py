"""Distance from the roofline: by hand, and never for what was not measured on the device of the figures."""

from __future__ import annotations

import pytest

from icd.stats.roofline import roofline

PARTS = [
    {"kind": "linear", "rate": "bf16", "calls": 2, "flops": 4e11, "bytes": 3e8, "weight_bytes": 2e8},
    {"kind": "scan", "rate": "fp32", "calls": 1, "flops": 5e9, "bytes": 1e8, "weight_bytes": 0.0},
]
DEVICE = {
    "name": "device",
    "is_device": True,
    "notes": [],
    "dram_gb_s": 4000.0,
    "tflops": {"bf16": 800.0, "fp32": 50.0},
}
TIMED = {"mean": 1.2, "source": "measured"}


def test_compute_is_the_sum_over_formats_and_the_bound_the_larger_side():
    found = roofline(PARTS, DEVICE, TIMED)
    assert (found["flops"], found["bytes"], found["weight_bytes"]) == (4.05e11, 4e8, 2e8)
    assert found["intensity"] == pytest.approx(1012.5)
    assert found["compute_ms"] == pytest.approx(0.5 + 0.1) and found["memory_ms"] == pytest.approx(0.1)
    assert found["bound_ms"] == found["compute_ms"] and found["limit"] == "compute"
    assert found["of_bound_pct"] == pytest.approx(50.0)
    assert found["achieved_tflop_s"] == pytest.approx(337.5)
    assert found["achieved_gb_s"] == pytest.approx(1000 / 3)
    assert "reason" not in found


def test_a_slow_memory_limits():
    found = roofline(PARTS, {**DEVICE, "dram_gb_s": 400.0}, TIMED)
    assert found["limit"] == "memory" and found["bound_ms"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("device", "latency", "parts", "words"),
    [
        ({}, {"mean": 1.2, "source": "simulated"}, PARTS, "simulated"),
        ({}, {"mean": None, "source": None, "reason": "no clock"}, PARTS, "no clock"),
        ({"is_device": False, "notes": ["another device"]}, TIMED, PARTS, "another device"),
        ({"dram_gb_s": None, "dram_gb_s_reason": "MIG is on"}, TIMED, PARTS, "MIG is on"),
        (
            {"tflops": {"bf16": 1.0}, "tflops_reason": "only bf16"},
            TIMED,
            PARTS,
            "fp32 is known of device: only",
        ),
        ({"tflops": None, "tflops_reason": "unknown chip"}, TIMED, PARTS, "unknown chip"),
        ({}, TIMED, [], "no operator"),
    ],
)
def test_no_bound_without_a_reason(device, latency, parts, words):
    found = roofline(parts, {**DEVICE, **device}, latency)
    assert words in found["reason"]
    for key in ("bound_ms", "of_bound_pct", "limit", "compute_ms", "memory_ms"):
        assert found[key] is None


def test_counted_work_stays_where_the_device_is_unknown():
    found = roofline(PARTS, {**DEVICE, "tflops": None, "tflops_reason": "?"}, TIMED)
    assert found["flops"] == 4.05e11 and found["achieved_gb_s"] > 0
    assert roofline(PARTS, DEVICE, {"mean": 1.0, "source": "simulated"})["achieved_gb_s"] is None
