"""Figures of the device found: of a GPU from what torch and NVML say, of a CPU from /sys and two timings."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import yaml

from icd.config import conf_dir
from icd.contracts import Missing
from icd.measure import cpu_figures
from icd.measure.cpu_figures import caches, read_cpu, usable_cores
from icd.measure.gpu_figures import RATES, gpu_figures
from icd.measure.hardware import Auto, Hardware, contradictions, resolve
from icd.measure.meter import NvmlMeter
from tests.measure.fake_gpu import FakeNvml


def file(name: str) -> Hardware:
    """The figures of ``conf/hardware/NAME.yaml``."""
    node = yaml.safe_load((conf_dir() / "hardware" / f"{name}.yaml").read_text())
    return Hardware(**{key: value for key, value in node.items() if key != "_target_"})


class Nvml(FakeNvml):
    """One device of these highest clocks (MHz) and this bus (bits)."""

    def __init__(self, sm: int, memory: int, bus: int, mig: bool = False, **more) -> None:
        super().__init__(**more)
        self.clocks, self.bus, self.mig = {1: sm, 2: memory}, bus, mig

    def nvmlDeviceGetMaxClockInfo(self, handle, which):
        return self.clocks[which]

    def nvmlDeviceGetMemoryBusWidth(self, handle):
        if "nvmlDeviceGetMemoryBusWidth" in self.lacks:
            self._refuse()
        return self.bus

    def nvmlDeviceGetMigMode(self, handle):
        return [int(self.mig), int(self.mig)]


def properties(name, capability, sms, l2, memory):
    return SimpleNamespace(
        name=name,
        major=capability[0],
        minor=capability[1],
        multi_processor_count=sms,
        L2_cache_size=l2,
        total_memory=memory,
    )


H200 = properties("NVIDIA H200", (9, 0), 132, 62914560, 150_110_011_392)
A100 = properties("NVIDIA A100-SXM4-80GB", (8, 0), 108, 41943040, 85_094_825_984)


def h200(**more):
    return gpu_figures(H200, NvmlMeter(Nvml(1980, 3201, 6144, **more), 0))


def test_an_h200_has_its_datasheets_figures():
    found = h200()
    assert (found["capability"], found["sm_count"], found["l2_bytes"]) == ("9.0", 132, 62914560)
    assert found["dram_gb_s"] == pytest.approx(4917, abs=1)  # datasheet: 4.8 TB/s
    assert found["tflops"]["bf16"] == pytest.approx(132 * 4096 * 1.98e9 / 1e12)
    assert found["tflops"]["bf16"] * 1830 / 1980 == pytest.approx(989.4, abs=0.1)  # at the datasheet's clock
    assert found["tflops"]["fp8"] == found["tflops"]["int8"] == 2 * found["tflops"]["bf16"]
    assert found["tflops"]["fp32"] == pytest.approx(66.9, abs=0.1)
    assert "16 is assumed" in found["how"]["l2_ways"] and "bus width" in found["how"]["dram_gb_s"]


def test_an_a100_has_its_datasheets_figures_and_no_fp8():
    found = gpu_figures(A100, NvmlMeter(Nvml(1410, 1593, 5120), 0))
    assert found["dram_gb_s"] == pytest.approx(2039, abs=1)
    assert found["tflops"] == pytest.approx({"fp32": 19.5, "bf16": 312, "fp16": 312, "int8": 624}, rel=2e-3)


def test_geforce_cards_run_float32_sums_at_half_the_rate():
    card = properties("NVIDIA GeForce RTX 4090", (8, 9), 128, 75497472, 25_000_000_000)
    found = gpu_figures(card, NvmlMeter(Nvml(2520, 10501, 384), 0))
    assert found["tflops"]["fp16"] == pytest.approx(165.2, abs=0.1)
    assert found["tflops"]["fp32"] == pytest.approx(82.6, abs=0.1)
    assert found["dram_gb_s"] == pytest.approx(1008, abs=1)


@pytest.mark.parametrize(
    ("found", "key", "words"),
    [
        (h200(lacks=("nvmlDeviceGetMemoryBusWidth",)), "dram_gb_s", "Not Supported"),
        (h200(mig=True), "dram_gb_s", "MIG is on"),
        (gpu_figures(H200, Missing("no driver")), "tflops", "no driver"),
        (
            gpu_figures(properties("new", (12, 0), 1, 1, 1), NvmlMeter(Nvml(1, 1, 1), 0)),
            "tflops",
            "capability 12.0",
        ),
    ],
)
def test_what_cannot_be_read_is_null_beside_its_reason(found, key, words):
    assert found[key] is None and words in found[f"{key}_reason"]
    json.dumps(found)


def test_eight_bits_are_twice_as_fast_as_sixteen_wherever_they_run():
    for rates in RATES.values():
        assert all(rates[f] == 2 * rates["bf16"] for f in ("fp8", "int8") if f in rates)


@pytest.fixture
def sys(tmp_path):
    """A core with three levels, the first split, and a control group of one core and a half."""
    levels = (
        ("index0", "1", "Data", "48K", "64", "12"),
        ("index1", "1", "Instruction", "32K", "64", "8"),
        ("index2", "2", "Unified", "2048K", "64", "16"),
        ("index3", "3", "Unified", "30M", "64", "0"),
    )
    files = ("level", "type", "size", "coherency_line_size", "ways_of_associativity")
    for index, *values in levels:
        folder = tmp_path / "devices/system/cpu/cpu0/cache" / index
        folder.mkdir(parents=True)
        for name, value in zip(files, values, strict=True):
            (folder / name).write_text(f"{value}\n")
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu.max").write_text("150000 100000\n")
    return tmp_path


def test_a_cpu_tells_caches_and_cores_and_its_rates_are_measured(sys):
    asked = []
    found = read_cpu(sys, copy=lambda size: asked.append(size) or 20.0, product=lambda: 0.15)
    assert [c["bytes"] for c in found["caches"]] == [48 * 2**10, 2**21, 30 * 2**20]
    assert (found["l2_bytes"], found["l2_ways"], found["line_bytes"]) == (2**21, 16, 64)
    assert found["caches"][2]["ways"] is None
    assert found["dram_gb_s"] == 20.0 and found["tflops"] == {"fp32": 0.15}
    assert found["cores"] <= 1.5 and asked == [64 * 2**20]
    assert "measured" in found["how"]["dram_gb_s"] and "measured" in found["how"]["tflops"]


def test_a_kernel_that_shows_no_caches_gives_reasons(tmp_path):
    found = read_cpu(tmp_path, copy=lambda size: 20.0, product=lambda: 0.15)
    for key in ("caches", "l2_bytes", "l2_ways", "line_bytes"):
        assert found[key] is None and found[f"{key}_reason"]
    assert caches(tmp_path) == []


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, 8.0),
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8.0),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2.0),
        ({}, 8.0),
    ],
)
def test_a_quota_limits_the_cores_that_affinity_leaves(tmp_path, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(8, tmp_path) == {"cores": cores}


def test_the_timings_are_rates_and_short(monkeypatch):
    monkeypatch.setattr(cpu_figures, "SECONDS", 0.01)
    assert cpu_figures.copy_gb_s(2**20) > 0.1
    assert 1e-4 < cpu_figures.gemm_tflops() < 100


def test_auto_is_what_was_found():
    found = resolve(Auto(), "cuda:0", simulated=False, look=lambda device: h200())
    assert found["source"] == "read" and found["is_device"] and found["name"] == "NVIDIA H200"


@pytest.mark.parametrize(
    ("named", "words"),
    [("h200", []), ("h100", ["calls itself NVIDIA H200", "bytes of L2", "GB/s"]), ("mock", ["calls itself"])],
)
def test_a_named_file_is_compared_with_the_device(named, words):
    found = resolve(file(named), "cuda:0", simulated=False, look=lambda device: h200())
    assert found["source"] == "file" and found["asked"] == named
    assert found["is_device"] is (not words) and found["found"]["name"] == "NVIDIA H200"
    for word in words:
        assert any(word in note for note in found["notes"])


@pytest.mark.parametrize(
    ("named", "name", "same"),
    [
        ("h200", "NVIDIA H200", True),
        ("h200", "NVIDIA H200 NVL", True),
        ("h200", "NVIDIA GH200 144G HBM3e", False),
        ("h200", "NVIDIA H200 MIG 1g.18gb", True),
        ("h100", "NVIDIA H100 80GB HBM3", True),
        ("h100", "NVIDIA H100 NVL", True),
        ("a100", "NVIDIA A100-SXM4-80GB", True),
        ("a100", "NVIDIA A10", False),
    ],
)
def test_a_device_is_known_by_a_word_of_its_name(named, name, same):
    found = {"kind": "gpu", "name": name, "l2_bytes": None, "dram_gb_s": None}
    assert bool(contradictions(file(named), found)) is not same


@pytest.mark.parametrize(
    ("name", "capability", "sms", "mhz"),
    [("a100", (8, 0), 108, 1410), ("h100", (9, 0), 132, 1980), ("h200", (9, 0), 132, 1980)],
)
def test_rates_of_the_files_are_those_of_the_white_papers_or_what_is_reached_of_them(
    name, capability, sms, mhz
):
    for format, per_clock in RATES[capability].items():
        peak = per_clock * sms * mhz * 1e6 / 1e12
        assert 0.73 * peak < file(name).tflops[format] <= 1.002 * peak, format


def test_a_simulated_device_is_not_compared():
    def look(device):
        raise AssertionError("the device was read")

    found = resolve(file("h100"), "cpu", simulated=True, look=look)
    assert not found["is_device"] and "simulated" in found["notes"][0]
    assert isinstance(file("h100"), Hardware)


def test_figures_of_a_file_say_nothing_of_this_cpu():
    look = {"kind": "cpu", "name": "some CPU", "l2_bytes": 2**21, "dram_gb_s": 10.0}
    found = resolve(file("cpu"), "cpu", simulated=False, look=lambda device: look)
    assert not found["is_device"] and "hardware=auto" in found["notes"][0]
