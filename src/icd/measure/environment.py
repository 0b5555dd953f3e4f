"""What a run ran on, for ``env.json``: software, processor, GPU with its clocks; no path, user or host."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "icd",
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "numba",
    "hydra-core",
    "omegaconf",
    "mlflow",
    "triton",
)


def environment() -> dict[str, Any]:
    """A JSON-ready record; a part that cannot be read is null beside its reason."""
    return {
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": {name: _version(name) for name in PACKAGES},
        "git": git_state(),
        "cpu": cpu(),
        "gpu": gpus(),
        "threads": {k: os.environ[k] for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if k in os.environ},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_state() -> dict[str, Any]:
    """Commit of the source tree that the package runs from, and whether it was changed since."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return {"commit": None, "dirty": None, "reason": "not run from a git checkout"}

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        return {"commit": git("rev-parse", "HEAD") or None, "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"commit": None, "dirty": None, "reason": f"git did not answer: {type(error).__name__}"}


def cpu() -> dict[str, Any]:
    """Model, cores that this process may use, governor, load."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": model,
        "cores": cores,
        "governor": governor.read_text().strip() if governor.is_file() else None,
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def torch_environment(device: str) -> dict[str, Any]:
    """What torch says in the process that was timed: device, threads, capabilities, load around it."""
    import torch

    out: dict[str, Any] = {
        "device": device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }
    if device.startswith("cuda"):
        prop = torch.cuda.get_device_properties(device)
        out |= {"name": prop.name, "l2_bytes": prop.L2_cache_size, "sm_count": prop.multi_processor_count}
    return out


def gpus() -> dict[str, Any]:
    """Every NVIDIA GPU with clocks, power limit and persistence as found; read, never changed."""
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return {"devices": [], "reason": f"NVML: {error}"}
    try:
        return {
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "devices": [
                _gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(nvml.nvmlDeviceGetCount())
            ],
        }
    finally:
        nvml.nvmlShutdown()


def _gpu(nvml: Any, handle: Any) -> dict[str, Any]:
    reads = {
        "name": lambda: nvml.nvmlDeviceGetName(handle),
        "memory_mib": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20,
        "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
        "memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
        "max_sm_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
        "power_limit_w": lambda: nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000,
        "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        "persistence": lambda: bool(nvml.nvmlDeviceGetPersistenceMode(handle)),
        "other_processes": lambda: len(nvml.nvmlDeviceGetComputeRunningProcesses(handle)),
    }
    out: dict[str, Any] = {}
    for key, read in reads.items():
        try:
            value: Any = read()  # type: ignore[no-untyped-call]
            out[key] = value.decode() if isinstance(value, bytes) else value
        except nvml.NVMLError as error:
            out[key], out[f"{key}_reason"] = None, str(error)
    return out
