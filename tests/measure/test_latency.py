"""Blocks keep what was read of the device before and behind them."""

from __future__ import annotations

from icd.measure.latency import measure_rounds
from icd.measure.meter import State
from icd.measure.power import begin, energy_rounds
from icd.measure.protocol import Protocol
from tests.measure.fake_gpu import FakeGpu


class Step:
    executed = {"source": "measured"}  # noqa: RUF012

    def __call__(self):
        return None


class HotAtFirst(FakeGpu):
    """A GPU that says it is throttled when it is asked for the first time, and never again."""

    asked = 0

    def state(self):
        self.asked += 1
        return State(1980.0, 90.0, frozenset({"hardware thermal slowdown"} if self.asked == 1 else ()))


def test_throttling_before_the_first_block_is_kept():
    protocol = Protocol("test", 1, 1, 1, 2, 0, ncu_enable=False, power_enable=False)
    told = {"process": 0, "allocation": 0, "device": "cpu", "done": lambda number: None}
    record = measure_rounds({"linear": Step()}, [["linear"]], protocol, meter=HotAtFirst(), **told)
    assert record.throttling == {"hardware thermal slowdown"}


def test_throttling_before_a_block_of_energy_is_kept():
    gpu = HotAtFirst()
    record = begin(gpu, gpu)
    one = {"forward_s": {"linear": 1e-3}, "sources": {"linear": "measured"}, "process": 0, "first_round": 1}
    launch = {"linear": gpu.launcher(1e-3)}
    energy_rounds(record, gpu, gpu, launch, [["linear"]], sample_hz=0, done=lambda n: None, **one)
    assert record.samples and record.throttling == {"hardware thermal slowdown"}
