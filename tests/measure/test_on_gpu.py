"""On a real GPU: the counter steps as the code expects, and the clocks of host and device agree."""

from __future__ import annotations

import numpy as np
import pytest

from icd.contracts import Missing
from icd.measure.energy import measure_idle, measure_window
from icd.measure.inflight import CudaQueue, SystemClock
from icd.measure.latency import time_block
from icd.measure.meter import open_meter

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", autouse=True)
def _cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


class MatMul:
    """About a millisecond of bf16 products in one CUDA graph."""

    executed = {"source": "measured"}  # noqa: RUF012

    def __init__(self) -> None:
        import torch

        from icd.runtime.accelerate import capture

        self.x = torch.randn(4096, 4096, device="cuda:0", dtype=torch.bfloat16) / 64
        self.replay, self.out = capture(self.four)

    def four(self):
        y = self.x
        for _ in range(4):
            y = self.x @ y
        return y

    def __call__(self):
        self.replay()
        return self.out


@pytest.fixture(scope="module")
def step():
    return MatMul()


@pytest.fixture(scope="module")
def meter():
    found = open_meter("cuda:0")
    assert not isinstance(found, Missing), found
    return found


def test_two_blocks_agree_with_each_other_with_the_power_draw_and_with_the_events(step, meter):
    forward_s = float(np.median(time_block(step, 20, "cuda:0").ms)) / 1e3
    windows = [
        measure_window(meter, SystemClock(), CudaQueue(step).launch, forward_s=forward_s) for _ in range(2)
    ]
    a, b = windows
    print([(w.watts, w.forward_j, w.forward_s, w.steps, w.end_s - w.start_s) for w in windows])
    assert a.forward_j == pytest.approx(b.forward_j, rel=0.03)
    assert a.forward_s == pytest.approx(forward_s, rel=0.2) or "power cap" in a.throttling
    late = [p.watts for p in b.power if p.time_s > b.start_s + 1]
    assert b.watts == pytest.approx(np.mean(late), rel=0.05)
    assert b.steps >= 50


def test_idle_power_is_below_that_of_work(step, meter):
    idle = measure_idle(meter, SystemClock())
    print(idle.watts)
    assert 20 < idle.watts < 300


def test_the_hosts_clock_agrees_with_the_events(step):
    time_block(step, 20, "cuda:0")
    block = time_block(step, 50, "cuda:0")
    assert block.wall_ms == pytest.approx(np.mean(block.ms), rel=0.1)


def test_clock_and_temperature_are_told(meter):
    state = meter.state()
    assert state.clock_mhz > 100 and 10 < state.temperature_c < 110
