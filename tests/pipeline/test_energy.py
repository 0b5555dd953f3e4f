"""Energy in a measuring process: when it is measured, in which rounds, and the reason when it is not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from icd.contracts import Missing
from icd.measure.meter import NvmlMeter
from icd.measure.protocol import Protocol
from icd.pipeline import energy
from icd.pipeline.record import missing_reasons
from tests.measure.fake_gpu import FakeGpu, FakeNvml


def protocol(**changes):
    fields = {"power_enable": True, "power_rounds": 2} | changes
    return Protocol("test", 1, 2, 3, "auto", 0, ncu_enable=False, **fields)


class Step:
    executed = {"source": "measured"}  # noqa: RUF012

    def __call__(self):
        return None


@pytest.fixture
def gpu(monkeypatch):
    gpu = FakeGpu()
    monkeypatch.setattr(energy, "open_meter", lambda device: gpu)
    monkeypatch.setattr(energy, "SystemClock", lambda: gpu)
    monkeypatch.setattr(energy, "CudaQueue", lambda step: SimpleNamespace(launch=gpu.launcher(1e-3)))
    return gpu


def test_energy_rounds_come_behind_the_latency_rounds_with_every_arm_once_a_round(gpu):
    meter, record = energy.open_energy(protocol(), "cuda:0", simulated=False)
    told = []
    energy.add_energy(
        record, meter, {"dense": Step(), "linear": Step()}, protocol(),
        process=1, seed=0, device="cpu", first_round=3, done=told.append,
    )  # fmt: skip
    joules = [s for s in record.samples if s.metric == "energy_j"]
    assert [s.round for s in joules] == [3, 3, 4, 4] and told == [0, 1]
    assert all({s.arm for s in joules if s.round == r} == {"dense", "linear"} for r in (3, 4))
    assert all(s.value == pytest.approx(0.5, rel=0.02) and s.unit == "J" for s in joules)
    assert {s.process for s in record.samples} == {1}


@pytest.mark.parametrize(
    ("changes", "simulated", "reason"),
    [
        ({"power_enable": False}, False, "measure.power_enable=false"),
        ({"power_rounds": 0}, False, "measure.power_rounds=0"),
        ({}, True, energy.SIMULATED),
    ],
)
def test_where_energy_is_not_measured_the_counter_is_not_read_and_the_reason_is_kept(
    gpu, changes, simulated, reason
):
    meter, record = energy.open_energy(protocol(**changes), "cuda:0", simulated)
    energy.add_energy(
        record, meter, {"dense": Step()}, protocol(**changes),
        process=0, seed=0, device="cpu", first_round=3, done=print,
    )  # fmt: skip
    assert record.missing == reason and record.samples == [] and gpu.reads == 0


def test_a_slice_of_a_device_is_not_given_the_energy_of_all_of_it(monkeypatch):
    meter = NvmlMeter(FakeNvml(), 0)  # MIG is on
    monkeypatch.setattr(energy, "open_meter", lambda device: meter)
    found, record = energy.open_energy(protocol(), "cuda:0", simulated=False)
    assert found is meter and record.missing == energy.SLICED  # clocks are still told


def test_a_cpu_has_no_counter():
    meter, record = energy.open_energy(protocol(), "cpu", simulated=False)
    assert isinstance(meter, Missing) and "the device is a CPU" in record.missing


def test_the_record_says_in_the_backends_words_what_is_not_there():
    processes = [{"no_energy": None, "no_cold": None}, {"no_energy": "the counter broke", "no_cold": "no"}]
    why = missing_reasons(processes, "ncu is not on PATH")
    assert why["energy_j"] == why["idle_watts"] == "the counter broke"
    assert why["l2_served_pct"] == why["dram_bytes_per_token"] == "ncu is not on PATH"
    assert missing_reasons([{"no_energy": None, "no_cold": None}], None) == {}
