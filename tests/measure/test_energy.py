"""Energy on a GPU that exists on its own clock: right within 2 %, and never zero for want of a reading."""

from __future__ import annotations

import math

import pytest

from icd.contracts import Missing
from icd.measure.energy import STEPS, WINDOW_S, counter_moves, measure_idle, measure_window
from icd.measure.meter import NvmlMeter, State, around, throttling
from icd.measure.power import begin, energy_rounds
from icd.stats.derive import derive
from tests.measure.fake_gpu import FakeGpu


@pytest.mark.parametrize("forward_s", [0.3e-3, 1e-3, 7e-3, 60e-3, 0.9])
@pytest.mark.parametrize("phase_s", [0.0, 0.037, 0.081])
def test_the_energy_of_a_forward_is_right_within_two_percent(forward_s, phase_s):
    gpu = FakeGpu()
    gpu.next_step += phase_s
    window = measure_window(gpu, gpu, gpu.launcher(forward_s), forward_s=forward_s)
    assert window.forward_j == pytest.approx(500 * forward_s, rel=0.02)
    assert window.forward_s == pytest.approx(forward_s, rel=0.01)
    assert window.watts == pytest.approx(500, rel=0.02)
    assert window.end_s - window.start_s >= WINDOW_S and window.steps >= STEPS


def test_a_launch_bound_step_pays_for_the_pauses_of_the_device():
    gpu = FakeGpu()
    window = measure_window(gpu, gpu, gpu.launcher(0.5e-3, host_s=1e-3), forward_s=1e-3)
    assert window.forward_s == pytest.approx(1e-3, rel=0.02)
    assert window.watts == pytest.approx(300, rel=0.02)
    assert window.forward_j == pytest.approx(0.3, rel=0.02)


def test_pauses_of_the_host_count_in_time_and_energy_alike():
    gpu = FakeGpu(reading_s=5e-3)  # a driver that answers slowly leaves pauses in a launch-bound step
    window = measure_window(gpu, gpu, gpu.launcher(0.5e-3, host_s=1e-3), forward_s=1e-3)
    idle = window.forward_s - 0.5e-3
    assert window.forward_j == pytest.approx(500 * 0.5e-3 + 100 * idle, rel=0.02)


def test_the_first_half_second_is_dropped():
    gpu = FakeGpu()
    began = gpu.now()
    window = measure_window(gpu, gpu, gpu.launcher(1e-3), forward_s=1e-3)
    assert 0.5 <= window.start_s - began < 0.7


def test_a_slow_counter_makes_the_window_longer_until_it_has_stepped_often_enough():
    gpu = FakeGpu(step_hz=2.0)
    window = measure_window(gpu, gpu, gpu.launcher(1e-3), forward_s=1e-3)
    assert window.steps == STEPS and window.end_s - window.start_s == pytest.approx(25, rel=0.01)


def test_idle_power_is_measured_with_nothing_queued():
    gpu = FakeGpu()
    window = measure_idle(gpu, gpu)
    assert window.watts == pytest.approx(100, rel=0.02)
    assert math.isnan(window.forward_j)


def test_a_counter_that_stands_still_is_missing_with_the_reason_and_leaves_no_work_behind():
    gpu = FakeGpu(step_hz=0.0)
    found = measure_window(gpu, gpu, gpu.launcher(1e-3), forward_s=1e-3)
    assert isinstance(found, Missing) and "did not move" in found.reason
    assert gpu.free_at <= gpu.time_s


def test_a_counter_that_fails_midway_is_missing_with_the_drivers_reason():
    gpu = FakeGpu(broken_after_s=3.0)
    assert measure_window(gpu, gpu, gpu.launcher(1e-3), forward_s=1e-3) == Missing("the counter broke")


def test_power_is_sampled_at_the_asked_rate():
    gpu = FakeGpu()
    window = measure_window(gpu, gpu, gpu.launcher(1e-3), forward_s=1e-3, sample_hz=10)
    assert len(window.power) == pytest.approx(57, abs=3)
    assert {p.watts for p in window.power[1:]} == {500.0}


def two_arms(gpu, process, record):
    energy_rounds(
        record,
        gpu,
        gpu,
        {"linear": gpu.launcher(2e-3), "iterative": gpu.launcher(1e-3)},
        [["linear", "iterative"], ["iterative", "linear"]],
        forward_s={"linear": 2e-3, "iterative": 1e-3},
        sources={"linear": "measured", "iterative": "measured"},
        process=process,
        first_round=3,
        sample_hz=10,
        done=lambda number: None,
    )
    return record


def test_rounds_become_samples_from_which_the_comparison_follows():
    samples = []
    for process in range(3):
        gpu = FakeGpu(throttled=frozenset({"power cap"}))
        record = two_arms(gpu, process, begin(gpu, gpu))
        assert record.missing is None and record.throttling == {"power cap"}
        assert {r.round for r in record.power} == {3, 4} and len(record.power) > 4 * 50
        samples += record.samples
    assert {s.round for s in samples} == {3, 4}
    assert {(s.clock, s.temperature) for s in samples} == {(1980.0, 55.0)}
    found = derive(samples, ["linear", "iterative"], device="cuda:0", tokens=10)
    ept = found["compare"]["iterative_vs_linear"]["ept"]
    assert ept["delta_pct"] == pytest.approx(-50, abs=1) and ept["n_units"] == 3
    energy = found["arms"]["linear"]["energy"]
    assert energy["ept_j"] == pytest.approx(0.1, rel=0.02)
    assert energy["watts"] == pytest.approx(500, rel=0.02)
    assert energy["idle_watts"] == pytest.approx(100, rel=0.02)


def test_a_counter_that_stops_leaves_no_energy_at_all_and_says_in_which_arm():
    gpu = FakeGpu(broken_after_s=10.0)
    record = two_arms(gpu, 0, begin(gpu, gpu))
    assert record.samples == [] and record.missing == "the counter broke, in a block of iterative"


def test_a_device_without_a_counter_is_not_driven():
    gpu = FakeGpu()
    record = two_arms(gpu, 0, begin(Missing("a CPU"), gpu))
    assert record.missing == "a CPU" and record.samples == [] and gpu.reads == 0


class FakeNvml:
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetPowerUsage(self, handle):
        return 123456

    def nvmlDeviceGetClockInfo(self, handle, which):
        return 1755

    def nvmlDeviceGetTemperature(self, handle, which):
        raise self.NVMLError("Not Supported")

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return 0x1 | 0x4 | 0x40


def test_what_nvml_does_not_tell_is_missing_with_its_words():
    meter = NvmlMeter(FakeNvml(), None)
    assert meter.energy_mj() == Missing("the energy counter cannot be read (NVML: Not Supported)")
    assert meter.power_w() == pytest.approx(123.456)
    assert meter.state() == State(
        1755.0, None, frozenset({"power cap", "hardware thermal slowdown"}), clocks_set=False
    )


def test_idling_and_set_clocks_are_no_throttling():
    assert throttling(0x1 | 0x2 | 0x10) == frozenset()


def test_clock_and_temperature_of_a_block_are_those_around_it():
    assert around(State(1000.0, None, frozenset()), State(2000.0, 60.0, frozenset())) == (1500.0, 60.0)


def test_a_counter_is_seen_to_move_or_said_to_stand_still():
    gpu = FakeGpu()
    assert counter_moves(gpu, gpu) is None
    gpu = FakeGpu(step_hz=0)
    assert "did not move for 1 s" in counter_moves(gpu, gpu).reason
    assert counter_moves(FakeGpu(broken_after_s=0), gpu) == Missing("the counter broke")
