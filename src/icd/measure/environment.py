"""What a run ran on, for ``env.json``: software, processor, GPU with its clocks; no path, user or host."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from icd.measure.gpus import gpus
from icd.processors import cpu_model

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
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
        if done.returncode != 0:
            raise OSError(f"git {words[0]} ended with {done.returncode}")
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error) if isinstance(error, OSError) else "git did not answer in time"
        return {"commit": None, "dirty": None, "reason": why}


def cpu(governor: Path = GOVERNOR) -> dict[str, Any]:
    """Model, cores that this process may use and cores of the machine, governor, load."""
    known = governor.is_file()
    return {
        "model": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "machine_cores": os.cpu_count(),
        "governor": governor.read_text().strip() if known else None,
        **({} if known else {"governor_reason": "the kernel shows no cpufreq governor here"}),
        "load_1min": load_1min(),
    }


def load_1min() -> float | None:
    """Processes that wanted a core, averaged over the last minute; of the whole machine."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def torch_environment(device: str) -> dict[str, Any]:
    """What torch says in the process that was timed: device, threads and how they wait, capabilities."""
    import torch

    out: dict[str, Any] = {
        "device": device,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "waiting": {k: os.environ[k] for k in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if k in os.environ},
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device.startswith("cuda"):
        prop = torch.cuda.get_device_properties(device)
        out |= {"name": prop.name, "l2_bytes": prop.L2_cache_size, "sm_count": prop.multi_processor_count}
    return out
