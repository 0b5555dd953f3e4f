"""Every NVIDIA GPU as found, for ``env.json``: clocks and their settings, limits, MIG, who else is there."""

from __future__ import annotations

from typing import Any

from icd.measure.meter import SET_CLOCKS, throttling


def gpus(nvml: Any = None) -> dict[str, Any]:
    """``{driver, devices}``; read, never changed. What cannot be read is null beside ``<key>_reason``.

    NVML counts devices that this process may not open (a cluster's control groups): such a one is
    ``{"reason": ...}``. ``nvml``: the module pynvml, or one that answers like it.
    """
    if nvml is None:
        import pynvml

        nvml = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    try:
        return {
            "driver": _text(nvml.nvmlSystemGetDriverVersion()),
            "devices": [_opened(nvml, i) for i in range(nvml.nvmlDeviceGetCount())],
        }
    except nvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    finally:
        nvml.nvmlShutdown()


def _opened(nvml: Any, index: int) -> dict[str, Any]:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        return {"reason": f"NVML: {error}"}
    return gpu(nvml, handle)


def gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    """One device. ``clocks_set`` is that of this moment; idle devices mostly say no."""

    def clock_reasons() -> int:
        return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

    reads = {
        "name": lambda: _text(nvml.nvmlDeviceGetName(handle)),
        "memory_mib": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20,
        "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "max_sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
        "application_sm_clock_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(handle, nvml.NVML_CLOCK_SM),
        "application_memory_clock_mhz": lambda: nvml.nvmlDeviceGetApplicationsClock(
            handle, nvml.NVML_CLOCK_MEM
        ),
        "clocks_set": lambda: bool(clock_reasons() & SET_CLOCKS),
        "throttling": lambda: sorted(throttling(clock_reasons())),
        "power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
        "default_power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) / 1000,
        "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "mig": lambda: bool(nvml.nvmlDeviceGetMigMode(handle)[0]),
        "other_processes": lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }
    out: dict[str, Any] = {}
    for key, read in reads.items():
        try:
            out[key] = read()  # type: ignore[no-untyped-call]
        except nvml.NVMLError as error:
            out[key], out[f"{key}_reason"] = None, str(error)
    return out


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
