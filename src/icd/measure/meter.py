"""What one GPU tells about itself while steps run: energy, power, clock, temperature, throttling.

Everything here reads; nothing changes a clock, a limit or a mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from icd.contracts import Missing

# bits of NVML's clock event reasons under which a device runs slower than it was asked to
THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
SET_CLOCKS = 0x02  # somebody set application or locked clocks


class State(NamedTuple):
    """A reading between blocks: SM clock in MHz, temperature in degrees C, reasons for throttling.

    ``clocks_set``: whether somebody's setting holds the clock (locked or application clocks). None where
    the device does not tell.
    """

    clock_mhz: float | None
    temperature_c: float | None
    throttling: frozenset[str]
    clocks_set: bool | None = None


class Meter(Protocol):
    """The readings of one GPU; a value that cannot be read is Missing with the driver's reason."""

    def energy_mj(self) -> int | Missing:
        """Energy since the driver was loaded, mJ; it steps about 11 times a second."""
        ...

    def power_w(self) -> float | Missing:
        """Power draw in W, as the driver averages it."""
        ...

    def state(self) -> State:
        """Clock, temperature and throttling now."""
        ...


@dataclass(frozen=True)
class NvmlMeter:
    """A `Meter` over NVML; ``nvml`` is the module ``pynvml`` after nvmlInit, ``handle`` one device."""

    nvml: Any
    handle: Any

    def energy_mj(self) -> int | Missing:
        """See `Meter`."""
        try:
            return int(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle))
        except self.nvml.NVMLError as error:
            return Missing(f"the energy counter cannot be read (NVML: {error})")

    def power_w(self) -> float | Missing:
        """See `Meter`."""
        try:
            return float(self.nvml.nvmlDeviceGetPowerUsage(self.handle)) / 1e3
        except self.nvml.NVMLError as error:
            return Missing(f"power cannot be read (NVML: {error})")

    def state(self) -> State:
        """See `Meter`."""
        nvml, handle = self.nvml, self.handle
        reads = (
            lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        )
        values: list[float | None] = []
        for read in reads:
            try:
                values.append(float(read()))  # type: ignore[no-untyped-call]
            except nvml.NVMLError:
                values.append(None)
        clock, temperature, bits = values
        held = None if bits is None else bool(int(bits) & SET_CLOCKS)
        return State(clock, temperature, throttling(int(bits or 0)), held)


def is_sliced(meter: NvmlMeter) -> bool:
    """Whether MIG is on, so that what NVML tells of the device is not that of the slice that runs."""
    try:
        return bool(meter.nvml.nvmlDeviceGetMigMode(meter.handle)[0])
    except meter.nvml.NVMLError:
        return False  # a device that knows no MIG


def others(meter: Meter | Missing) -> int | None:
    """Processes that compute on the device besides this one, which must have begun to; None if not told.

    In a container the driver names processes by numbers of the host, so they are counted, less one.
    """
    if not isinstance(meter, NvmlMeter):
        return None
    try:
        return max(0, len(meter.nvml.nvmlDeviceGetComputeRunningProcesses(meter.handle)) - 1)
    except meter.nvml.NVMLError:
        return None


def throttling(bits: int) -> frozenset[str]:
    """The reasons in NVML's ``bits`` that mean throttling; idling and set clocks do not."""
    return frozenset(name for bit, name in THROTTLING.items() if bits & bit)


def around(before: State, after: State) -> tuple[float | None, float | None]:
    """Clock and temperature of a block: the means of what was read before and behind it."""
    return _mean(before.clock_mhz, after.clock_mhz), _mean(before.temperature_c, after.temperature_c)


def _mean(a: float | None, b: float | None) -> float | None:
    known = [v for v in (a, b) if v is not None]
    return sum(known) / len(known) if known else None


def open_meter(device: str) -> NvmlMeter | Missing:
    """The meter of a torch device, found by its UUID, so that CUDA_VISIBLE_DEVICES cannot mislead.

    Missing on a CPU and where NVML does not know the device. NVML stays initialised until the process
    ends.
    """
    if not device.startswith("cuda"):
        return Missing("the device is a CPU: energy is read from an NVIDIA GPU's counter")
    import pynvml
    import torch

    uuid = str(torch.cuda.get_device_properties(device).uuid)
    try:
        pynvml.nvmlInit()
        return NvmlMeter(pynvml, pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}"))
    except pynvml.NVMLError as error:
        return Missing(f"NVML finds no device with the UUID that torch names ({error})")
