"""Readings against one another: two clocks, two meters, two processes; a device against its own figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from icd.contracts import Sample
from icd.tools.recheck.plausible import clocks, copies, device, meters
from icd.tools.recheck.recorded import Recorded

CARD = {"name": "NVIDIA H200", "sm_count": 132, "l2_bytes": 62914560}
TFLOPS = {"fp32": 66.90816, "bf16": 1070.53056, "fp16": 1070.53056, "fp8": 2141.06112, "int8": 2141.06112}
FIGURES = {
    **CARD, "kind": "gpu", "source": "read", "capability": "9.0", "sm_clock_mhz": 1980,
    "memory_clock_mhz": 3201, "memory_bus_bits": 6016, "dram_gb_s": 4814.304, "tflops": TFLOPS,
}  # fmt: skip


def block(process, values, *, arm="linear", metric="latency_ms", allocation=0):
    return [
        Sample(arm, metric, process, allocation, 0, 0, i, value, "ms", "measured")
        for i, value in enumerate(values)
    ]


def test_an_allocation_that_repeats_another_is_found_and_one_that_is_nearly_the_same_is_not():
    values = [10.0 + 0.1 * i for i in range(12)]
    assert copies(block(0, values) + block(1, [v + 1e-6 for v in values])) == []
    assert len(copies(block(0, values) + block(1, values))) == 2  # of the arm, and of all
    assert len(copies(block(0, values) + block(0, values, allocation=1))) == 2
    other = block(0, values, arm="aa") + block(1, [v + 1 for v in values], arm="aa")
    (found,) = copies(block(0, values) + block(1, values) + other)
    assert found.startswith("samples.csv.gz: latency_ms of linear: process 0, allocation 0 and process 1")


def test_short_steps_on_a_coarse_clock_may_take_the_same_time_twice():
    assert copies(block(0, [0.5, 1.0] * 20) + block(1, [0.5, 1.0] * 20)) == []


@pytest.mark.parametrize(("wall", "problems"), [(1.005, 0), (1.5, 0), (0.995, 0), (0.98, 1)])
def test_a_block_is_no_shorter_by_the_host_s_clock_than_by_the_device_s(wall, problems):
    assert len(clocks(block(0, [0.9, 1.1]) + block(0, [wall], metric="wall_ms"))) == problems


@pytest.mark.parametrize(("watts", "problems"), [(200.0, 0), (185.0, 0), (215.0, 0), (150.0, 1), (250.0, 1)])
def test_the_energy_counter_says_what_the_power_readings_say(watts, problems):
    read = {(0, "linear", 0): [80.0, *[200.0] * 9]}  # the first while the block begins
    assert len(meters(read, block(0, [watts], metric="watts"))) == problems


def on_gpu(*, card=CARD, clock=1980, **figures):
    env = {"gpu": {"devices": [{"max_sm_clock_mhz": clock}]}, "measured": [dict(CARD), dict(card)]}
    return device(Recorded(Path("run"), {"hardware": FIGURES | figures}, {}, env))


def test_a_device_s_peaks_follow_from_its_clocks_and_all_processes_ran_on_it():
    assert on_gpu() == []
    assert on_gpu(dram_gb_s=None) == []  # with its reason
    assert on_gpu(dram_gb_s=2400.0) and on_gpu(tflops={"bf16": 535.0})
    assert on_gpu(card={**CARD, "name": "NVIDIA A100"}) and on_gpu(name="NVIDIA B200")
    assert on_gpu(clock=1830) == ["hardware.sm_clock_mhz: 1980 is of no device in env.json"]
    assert on_gpu(kind="cpu", dram_gb_s=1.0) == []  # there they are measured
