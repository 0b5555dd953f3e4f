"""icd doctor: quick, a line each, honest about what is not there, and only broken packages are an error."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from icd.contracts import Missing
from icd.errors import ConfigError, Exit
from icd.measure.meter import THROTTLING
from icd.tools import doctor, machine
from icd.tools.doctor import main, packages, torch_finding
from icd.tools.machine import gpu, l2
from tests.conftest import ROOT, icd

NAMES = {"packages", "torch", "compile", "gpu", "energy", "l2", "minilm", "hub", "mlflow", "disk", "cpu"}


def test_the_doctor_says_a_line_for_everything_and_exits_0(tmp_path):
    start = time.perf_counter()
    done = icd("doctor", cwd=tmp_path, cold=True)
    assert done.returncode == Exit.DONE, done.stderr
    lines = done.stdout.splitlines()
    assert {line.split()[1] for line in lines} >= NAMES
    assert {line.split()[0] for line in lines} <= {"yes", "no", "part"}
    assert time.perf_counter() - start < 60 and list(tmp_path.iterdir()) == []


def test_arguments_are_refused():
    with pytest.raises(ConfigError, match="takes no arguments"):
        main(["now"])


def child(code: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_torch_that_cannot_be_imported_is_broken_and_said_in_its_last_line():
    found = torch_finding(child("raise ImportError('libtorch.so: not found')"))
    assert found.ok is False and "libtorch.so: not found" in found.what


@pytest.mark.parametrize(
    ("said", "ok", "sentence"),
    [
        ('{"version": "2.11", "cuda": "13.0", "gpus": ["H200"]}', True, "CUDA 13.0: H200"),
        ('{"version": "2.11", "cuda": null, "gpus": []}', None, "a CPU build"),
        ('{"version": "2.11", "cuda": "13.0", "gpus": []}', None, "finds no device"),
    ],
)
def test_what_torch_finds_is_told(said, ok, sentence):
    found = torch_finding(child(f"print('a warning'); print('''{said}''')"))
    assert found.ok is ok and sentence in found.what


def test_a_torch_that_takes_forever_is_given_up():
    found = torch_finding(child("import time; time.sleep(60)"), timeout_s=0.2)
    assert found.ok is None and "more than 0.2 s" in found.what


def test_a_missing_base_package_is_named_and_exit_3(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "requires", lambda name: ["numpy>=2", "scipy", 'pytest; extra == "dev"'])
    monkeypatch.setattr(doctor, "_installed", lambda name: name != "scipy")
    assert packages().ok is False
    assert main([]) == Exit.MISSING_RESOURCE
    (line,) = capsys.readouterr().out.splitlines()
    assert "missing: scipy" in line and line.startswith("no ")


def test_a_broken_torch_is_exit_3(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "TORCH", "raise ImportError('no such symbol')")
    assert main([]) == Exit.MISSING_RESOURCE
    assert "torch cannot be imported: ImportError: no such symbol" in capsys.readouterr().out


def test_finding_out_what_is_missing_needs_the_standard_library_alone():
    code = "import sys, icd.tools.doctor; print([m for m in ('numpy', 'torch', 'hydra') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


class FakeNvml:
    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0
    closed = False

    class NVMLError(Exception):
        pass

    def __init__(self, reasons: int, step: int = 100, mig: int = 0) -> None:
        self.reasons, self.step, self.mig, self.energy = reasons, step, mig, 0

    def nvmlDeviceGetMigMode(self, handle):
        return [self.mig, self.mig]

    def nvmlDeviceGetCount(self):
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return b"NVIDIA H200"

    def nvmlSystemGetDriverVersion(self):
        return "580.1"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        self.energy += self.step
        return self.energy

    def nvmlDeviceGetClockInfo(self, handle, which):
        return 345

    def nvmlDeviceGetMaxClockInfo(self, handle, which):
        return 1980

    def nvmlDeviceGetTemperature(self, handle, which):
        return 31

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle):
        return self.reasons

    def nvmlShutdown(self):
        self.closed = True


def test_a_gpu_is_shown_with_its_counter_and_clocks():
    nvml = FakeNvml(reasons=1)
    card, energy, clocks = gpu(lambda: nvml)
    assert card.what == "cuda:0 NVIDIA H200, driver 580.1" and energy.ok is True and nvml.closed
    assert "SM 345 of 1980 MHz, 31 degrees C" in clocks.what and "not locked" in clocks.remedy


def test_a_throttled_gpu_and_a_counter_that_stands_still_are_told():
    _, energy, clocks = gpu(lambda: FakeNvml(reasons=0x20, step=0))
    assert energy.ok is False and "did not move" in energy.what and "stay null" in energy.remedy
    assert "throttled: software thermal slowdown" in clocks.what


@pytest.mark.parametrize(
    ("reasons", "said", "not_said"),
    [(0x04, "power limit", "cool"), (0x20, "cool", "power limit"), (0x80, "power supply", "cool")],
)
def test_a_throttled_gpu_has_the_remedy_of_its_reason(reasons, said, not_said):
    *_, clocks = gpu(lambda: FakeNvml(reasons))
    assert clocks.ok is None and said in clocks.remedy and not_said not in clocks.remedy


def test_every_reason_for_throttling_has_a_remedy():
    assert set(machine.REMEDIES) == set(THROTTLING.values())


def test_the_energy_of_a_sliced_gpu_is_refused_as_a_run_refuses_it():
    _, energy, _ = gpu(lambda: FakeNvml(reasons=1, mig=1))
    assert energy.ok is False and "MIG is on" in energy.what and "whole device" in energy.what


def test_a_gpu_that_is_counted_and_may_not_be_opened_is_told(monkeypatch):
    nvml = FakeNvml(reasons=1)

    def refuse(index):
        raise nvml.NVMLError("Insufficient Permissions")

    monkeypatch.setattr(nvml, "nvmlDeviceGetHandleByIndex", refuse)
    (card,) = gpu(lambda: nvml)
    assert card.ok is None and "cannot be opened (Insufficient Permissions)" in card.what and nvml.closed


def test_without_a_driver_energy_is_null_and_says_so():
    card, energy = gpu(lambda: Missing("NVML: Driver Not Loaded"))
    assert (card.ok, energy.ok) == (False, False) and "Driver Not Loaded" in card.what


@pytest.mark.parametrize(
    ("restricted", "capabilities", "ok"),
    [
        ("1", "00000000a80425fb", False),  # root in a container as it mostly is
        ("1", "00000000a82425fb", True),  # with --cap-add=SYS_ADMIN
        ("1", "0000000000000000", False),
        ("0", "0000000000000000", True),
        (None, "0000000000000000", None),
        (None, "000001ffffffffff", True),
    ],
)
def test_counters_need_the_capability_that_the_driver_asks_for(tmp_path, restricted, capabilities, ok):
    driver, status = tmp_path / "params", tmp_path / "status"
    if restricted:
        driver.write_text(f"ResmanDebugLevel: 0\nRmProfilingAdminOnly: {restricted}\n")
    status.write_text(f"Uid:\t0\t0\t0\t0\nCapPrm:\t000001ffffffffff\nCapEff:\t{capabilities}\n")
    found = l2(True, lambda: "/bin/false", driver, status)
    assert found.ok is ok
    assert ok or ("NVreg_RestrictProfilingToAdminUsers=0" in found.remedy and "SYS_ADMIN" in found.remedy)


def test_without_ncu_l2_stays_null():
    assert l2(True, lambda: Missing("ncu is not on PATH")).ok is False


def test_ncu_without_a_gpu_reads_nothing():
    found = l2(False, lambda: "/bin/false")
    assert found.ok is False and "no GPU" in found.what and "stay null" in found.remedy


def test_the_doctor_does_not_promise_counters_of_a_gpu_that_is_not_there(monkeypatch, capsys):
    monkeypatch.setattr(machine, "_nvml", lambda: Missing("NVML: Driver Not Loaded"))
    monkeypatch.setattr(machine.l2, "__defaults__", (lambda: "/bin/false", machine.DRIVER, machine.STATUS))
    main([])
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[1] == "l2")
    assert line.startswith("no ") and "no GPU to read" in line
