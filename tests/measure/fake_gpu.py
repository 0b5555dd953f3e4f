"""A GPU that exists on a clock of its own: it works off a queue, draws power and has a stepped counter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace

from icd.contracts import Missing
from icd.measure.meter import State


@dataclass
class FakeGpu:
    """Meter and clock in one; ``step_hz`` steps a second, 0 for a counter that stands still."""

    busy_w: float = 500.0
    idle_w: float = 100.0
    step_hz: float = 11.0
    throttled: frozenset[str] = frozenset()
    reading_s: float = 50e-6
    broken_after_s: float = float("inf")
    time_s: float = 1000.0
    free_at: float = 0.0
    true_mj: float = 5e6
    counter_mj: int = 5_000_000
    next_step: float = 1000.0
    reads: int = 0

    def now(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        end = self.time_s + seconds
        while self.step_hz and self.next_step <= end:
            self._spend(self.next_step)
            self.counter_mj = round(self.true_mj)
            self.next_step += 1.0 / self.step_hz
        self._spend(end)

    def _spend(self, until: float) -> None:
        busy = min(max(self.free_at - self.time_s, 0.0), until - self.time_s)
        self.true_mj += 1e3 * (busy * self.busy_w + (until - self.time_s - busy) * self.idle_w)
        self.time_s = until

    def energy_mj(self) -> int | Missing:
        self.advance(self.reading_s)
        self.reads += 1
        if self.time_s > 1000.0 + self.broken_after_s:
            return Missing("the counter broke")
        return self.counter_mj

    def power_w(self) -> float:
        return self.busy_w if self.free_at > self.time_s else self.idle_w

    def state(self) -> State:
        return State(1980.0, 55.0, self.throttled)

    def launcher(self, forward_s: float, host_s: float = 0.0) -> Callable[..., FakeChunk]:
        """A step of ``forward_s`` on the device that takes the host ``host_s`` to launch."""

        def launch(iterations: int, before: FakeChunk | None) -> FakeChunk:
            begin = before.end if before else max(self.free_at, self.time_s)
            for _ in range(iterations):
                self.advance(host_s)
                self.free_at = max(self.free_at, self.time_s) + forward_s
            return FakeChunk(self, iterations, begin, self.free_at)

        return launch


@dataclass
class FakeChunk:
    gpu: FakeGpu = field(repr=False)
    iterations: int
    begin: float
    end: float

    def done(self) -> bool:
        return self.gpu.time_s >= self.end

    def seconds(self) -> float:
        return self.end - self.begin


class FakeNvml:
    """Answers like pynvml for one device; ``lacks`` names the calls that the device does not support."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, reasons: int = 0, lacks: tuple[str, ...] = (), dead: bool = False) -> None:
        self.reasons, self.lacks, self.dead, self.closed = reasons, lacks, dead, False

    def __getattr__(self, name: str) -> Callable[..., object]:
        answers = {
            "nvmlSystemGetDriverVersion": lambda: b"580.1",
            "nvmlDeviceGetCount": lambda: 1,
            "nvmlDeviceGetHandleByIndex": lambda index: index,
            "nvmlDeviceGetName": lambda handle: b"NVIDIA H200",
            "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=141 * 2**30),
            "nvmlDeviceGetClockInfo": lambda handle, which: {1: 1755, 2: 3201}[which],
            "nvmlDeviceGetMaxClockInfo": lambda handle, which: 1980,
            "nvmlDeviceGetApplicationsClock": lambda handle, which: {1: 1600, 2: 3201}[which],
            "nvmlDeviceGetCurrentClocksThrottleReasons": lambda handle: self.reasons,
            "nvmlDeviceGetPowerManagementLimit": lambda handle: 650_000,
            "nvmlDeviceGetPowerManagementDefaultLimit": lambda handle: 700_000,
            "nvmlDeviceGetTemperature": lambda handle, which: 41,
            "nvmlDeviceGetPersistenceMode": lambda handle: 1,
            "nvmlDeviceGetMigMode": lambda handle: [1, 1],
            "nvmlDeviceGetComputeRunningProcesses": lambda handle: [object(), object()],
        }
        if name in self.lacks:
            return self._refuse
        return answers[name]

    def _refuse(self, *arguments: object) -> object:
        raise self.NVMLError("Not Supported")

    def nvmlInit(self) -> None:
        if self.dead:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlShutdown(self) -> None:
        self.closed = True
