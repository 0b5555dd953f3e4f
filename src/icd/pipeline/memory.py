"""Whether a run fits into this machine's memory and its GPU's, before minutes go into building a model.

    P  bytes of the weights in float32       a  arms, twice from the second allocation on: those of the
    A  bytes of one forward's activations       allocation before are there until all of the next one are
       in float32, at batch x seq_len (see `icd.contracts.Footprint`)

The largest process of a run is the preparing or a measuring one (they follow one another):

    measuring   5 P + A beside a GPU, P (5 + a) + A without one: the dense and the transformed weights, one
                copy laid out for an arm and two while an engine prepares its step; the steps, where no GPU
                holds them
    preparing   7 P + 2 A + what calibration keeps + the graphs: dense and transformed weights and three
                copies on the way; the equivalence check holds two models in float64
    on the GPU  a copy of weights and activations for each arm, in the precision that is run; eight bits are
                made of a copy in float32

An upper bound: what an engine cuts out of an arm is not taken off. BERT-base with six arms at 1x128 on a
CPU: 5.2 GiB estimated and 4.4 GiB measured (the largest process's resident set, getrusage) with one
allocation, 7.7 and 5.8 GiB with two.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from icd.contracts import Footprint, Missing, Workload
from icd.errors import ConfigError, MissingResource
from icd.measure.meter import open_meter

GIB = 1 << 30
BASE = 3 * GIB // 4  # interpreter, torch, transformers, and the waiting parent
CONTEXT = 3 * GIB // 4  # of CUDA, with its libraries
ADDRESSES = 6 * GIB // 5  # that are mapped before a model is built, most of them never touched
ADDRESSES_A_CORE = GIB // 32
CALIBRATION_TOKENS = 2048  # whose activations are kept at every site
GRAPH_BYTES = 18_000_000  # of one site's co-access graph: 1.5 million entries of 12 bytes
DRIVER = Path("/proc/driver/nvidia/version")


def host_bytes(footprint: Footprint, arms: int, *, gpu: bool, allocations: int = 1) -> int:
    """What a run over ``arms`` arms takes of this machine's memory at its peak."""
    weights = 4 * footprint.params
    steps = 0 if gpu else copies(arms, allocations)
    measuring = weights * (5 + steps) + footprint.activations
    kept = 4 * CALIBRATION_TOKENS * footprint.channels + GRAPH_BYTES * footprint.sites
    preparing = weights * (7 if arms > 1 else 3) + 2 * footprint.activations + kept
    return BASE + max(measuring, preparing)


def copies(arms: int, allocations: int) -> int:
    """Steps that a measuring process holds at once."""
    return arms * min(2, allocations)


def gpu_bytes(footprint: Footprint, arms: int, element_bytes: int, allocations: int = 1) -> int:
    """What a measuring process takes of the GPU's memory."""
    each = footprint.params * element_bytes + footprint.activations * max(2, element_bytes) // 4
    in_between = 4 * footprint.params if element_bytes < 2 else 0
    return CONTEXT + copies(arms, allocations) * each + in_between


def check_address_space() -> None:
    """MissingResource where a limit on addresses (``ulimit -v``) is too narrow for the packages alone.

    OpenBLAS tries for ever to map a buffer for each core, inside an import.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    limit, need = (
        resource.getrlimit(resource.RLIMIT_AS)[0],
        ADDRESSES + ADDRESSES_A_CORE * (os.cpu_count() or 1),
    )
    if limit != resource.RLIM_INFINITY and limit < need:
        raise MissingResource(
            f"a process may map {limit / GIB:.1f} GiB here (ulimit -v) and importing torch takes "
            f"{need / GIB:.1f} GiB of addresses; raise that limit"
        )


def check_host(model: str, footprint: Footprint, arms: int, allocations: int, device: str) -> None:
    """MissingResource where a run on ``device`` (``auto`` before it is known) does not fit into this
    machine's memory.
    """
    gpu, have = device != "cpu" and DRIVER.exists(), available_bytes()
    need = host_bytes(footprint, arms, gpu=gpu, allocations=allocations)
    if need > have:
        twice = allocations > 1 and not gpu
        raise MissingResource(_sentence(model, footprint, arms, need, have, "memory", twice))


def check_gpu(
    model: str, footprint: Footprint, arms: int, element_bytes: int, allocations: int, device: str
) -> None:
    """MissingResource where the arms do not fit into what is free on ``device`` (nothing on a CPU)."""
    meter = open_meter(device)
    if isinstance(meter, Missing):
        return
    need, have = gpu_bytes(footprint, arms, element_bytes, allocations), free_on(meter.nvml, meter.handle)
    if have is not None and need > have:
        what = f"the memory of {device}"
        raise MissingResource(_sentence(model, footprint, arms, need, have, what, allocations > 1))


def news(known: Footprint | None, built: Workload) -> Footprint | None:
    """What only the built model tells: its size where nothing was known, or that its inputs are longer."""
    if known is None:
        return Footprint(
            built.card.params, built.tokens, 0, sum(site.size for site in built.sites), len(built.sites)
        )
    if built.tokens <= known.tokens:
        return None
    activations = known.activations * built.tokens // known.tokens
    return known._replace(tokens=built.tokens, activations=activations)


def _sentence(
    model: str, footprint: Footprint, arms: int, need: int, have: int, what: str, twice: bool
) -> str:
    less = ", measure.allocations=1" if twice else ""
    return (
        f"model={model} has {footprint.params / 1e9:.2f} billion parameters, and a run over {arms} arm(s) at "
        f"{footprint.tokens} tokens needs about {need / GIB:.1f} GiB of {what}, of which "
        f"{have / GIB:.1f} GiB are free; fewer arms take less (pipeline=linear, pipeline=dense{less}), "
        "and so do fewer tokens (batch_size, seq_len)"
    )


def free_on(nvml: Any, handle: Any) -> int | None:
    """Free bytes of one GPU; None where the driver does not tell."""
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(handle).free)
    except nvml.NVMLError:
        return None


def available_bytes() -> int:
    """Memory that a new process can take: what the system has left, or what the container allows.

    ``ICD_MEMORY_GIB`` says it where the system does not know: some virtual machines grow on demand.
    """
    told = os.environ.get("ICD_MEMORY_GIB")
    if told:
        try:
            return int(float(told) * GIB)
        except ValueError as error:
            raise ConfigError(f"ICD_MEMORY_GIB={told!r}: expected a number of GiB") from error
    lines = _read(Path("/proc/meminfo")).splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if not free:
        free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    limit, used = (_read(Path("/sys/fs/cgroup") / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        free.append(int(limit) - int(used))
    return min(free)


def _read(path: Path) -> str:
    """The text of ``path``, empty where it cannot be read."""
    try:
        return path.read_text()
    except OSError:
        return ""
