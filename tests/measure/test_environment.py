"""What a run ran on: every figure or its reason, and nothing is called locked or clean that was not read."""

from __future__ import annotations

import subprocess

import pytest

from icd.contracts import Missing
from icd.measure import environment
from icd.measure.environment import cpu, git_state
from icd.measure.gpus import gpus
from icd.measure.meter import SET_CLOCKS, NvmlMeter, others
from tests.measure.fake_gpu import FakeNvml


def test_a_gpu_tells_clocks_limits_mig_and_other_processes():
    nvml = FakeNvml(reasons=SET_CLOCKS | 0x4)
    found = gpus(nvml)
    (device,) = found["devices"]
    assert found["driver"] == "580.1" and nvml.closed
    expected = {
        "name": "NVIDIA H200",
        "application_sm_clock_mhz": 1600,
        "application_memory_clock_mhz": 3201,
        "power_limit_w": 650.0,
        "default_power_limit_w": 700.0,
        "mig": True,
        "other_processes": 2,
        "clocks_set": True,
        "throttling": ["power cap"],
        "persistence": True,
    }
    assert {key: device[key] for key in expected} == expected
    assert not [key for key in device if key.endswith("_reason")]


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ("nvmlDeviceGetMigMode", "mig"),
        ("nvmlDeviceGetApplicationsClock", "application_sm_clock_mhz"),
        ("nvmlDeviceGetPowerManagementLimit", "power_limit_w"),
        ("nvmlDeviceGetComputeRunningProcesses", "other_processes"),
        ("nvmlDeviceGetCurrentClocksThrottleReasons", "clocks_set"),
    ],
)
def test_what_a_device_does_not_tell_is_null_beside_the_drivers_words(call, key):
    (device,) = gpus(FakeNvml(lacks=(call,)))["devices"]
    assert device[key] is None and device[f"{key}_reason"] == "Not Supported"


def test_without_a_driver_there_is_no_device_and_a_reason():
    assert gpus(FakeNvml(dead=True)) == {"devices": [], "reason": "NVML: Driver Not Loaded"}


def test_a_device_that_is_counted_and_may_not_be_opened_has_a_reason():
    closed = FakeNvml(lacks=("nvmlDeviceGetHandleByIndex",))
    assert gpus(closed) == {"driver": "580.1", "devices": [{"reason": "NVML: Not Supported"}]}
    lost = FakeNvml(lacks=("nvmlDeviceGetCount",))
    assert gpus(lost) == {"devices": [], "reason": "NVML: Not Supported"} and lost.closed


@pytest.mark.parametrize(("reasons", "held"), [(0x2, True), (0x3, True), (0x0, False), (0x4, False)])
def test_clocks_are_held_when_the_driver_says_a_setting_limits_them(reasons, held):
    assert NvmlMeter(FakeNvml(reasons=reasons), 0).state().clocks_set is held


def test_unread_clock_reasons_are_neither_held_nor_free():
    silent = FakeNvml(lacks=("nvmlDeviceGetCurrentClocksThrottleReasons",))
    assert NvmlMeter(silent, 0).state().clocks_set is None


def test_a_governor_that_is_not_there_has_a_reason(tmp_path):
    assert cpu(tmp_path / "none")["governor_reason"]
    (tmp_path / "governor").write_text("performance\n")
    found = cpu(tmp_path / "governor")
    assert found["governor"] == "performance" and "governor_reason" not in found
    assert found["machine_cores"] >= found["cores"] >= 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (subprocess.CompletedProcess([], 128, "", "dubious ownership"), "git rev-parse ended with 128"),
        (subprocess.TimeoutExpired("git", 20), "did not answer in time"),
    ],
)
def test_a_git_that_fails_is_not_a_clean_checkout(monkeypatch, answer, words):
    def run(*command, **options):
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(environment.subprocess, "run", run)
    found = git_state()
    assert found["commit"] is None and found["dirty"] is None and words in found["reason"]


def test_others_on_the_gpu_are_counted_without_this_process_and_only_where_the_driver_tells():
    assert others(NvmlMeter(FakeNvml(), 0)) == 1
    assert others(NvmlMeter(FakeNvml(lacks=("nvmlDeviceGetComputeRunningProcesses",)), 0)) is None
    assert others(Missing("the device is a CPU")) is None
