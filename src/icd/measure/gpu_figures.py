"""What a CUDA device tells of its own figures: from torch's properties and NVML, nothing is measured.

memory bandwidth   2 x highest memory clock x bus width / 8 (two transfers a clock); the datasheets' own
                   figures follow from it: A100 80 GB 2039, H100 SXM 3352, H200 4917 GB/s (datasheet 4.8
                   TB/s). Copies reach about nine tenths of it.
peak arithmetic    FLOPs a clock and SM x SMs x highest SM clock, dense, sums in float32. Datasheets take a
                   lower clock (H100: 1830 MHz), so this is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from icd.contracts import Missing
from icd.measure.meter import NvmlMeter, is_sliced, open_meter

# FLOPs a clock and SM (a multiply-add is two), dense, by compute capability. From NVIDIA's architecture
# white papers (A100 2020, GA102 2021, Ada 2022, H100 2022, Blackwell 2024): stated peak rate / SMs / clock.
# fp32 runs outside the tensor cores, as torch does unless TF32 is switched on.
RATES: dict[tuple[int, int], dict[str, int]] = {
    (8, 0): {"fp32": 128, "bf16": 2048, "fp16": 2048, "int8": 4096},
    (8, 6): {"fp32": 256, "bf16": 1024, "fp16": 1024, "int8": 2048},
    (8, 9): {"fp32": 256, "bf16": 1024, "fp16": 1024, "fp8": 2048, "int8": 2048},
    (9, 0): {"fp32": 256, "bf16": 4096, "fp16": 4096, "fp8": 8192, "int8": 8192},
    (10, 0): {"fp32": 256, "bf16": 8192, "fp16": 8192, "fp8": 16384, "int8": 16384},
}
GEFORCE_HALVED = ("bf16", "fp16", "fp8")  # GeForce 30 and 40: half the rate where sums are float32
SLICED = "MIG is on: NVML tells the bandwidth of the whole device, not of this slice"
HOW = {
    "dram_gb_s": "2 x highest memory clock x bus width / 8, both from NVML",
    "tflops": "FLOPs a clock and SM (NVIDIA's architecture white papers) x SMs x highest SM clock (NVML); "
    "dense, sums in float32; fp32 outside the tensor cores",
    "l2_ways": "not published: 16 is assumed",
    "line_bytes": "known of the architecture, not read",
    "sector_bytes": "known of the architecture, not read",
}


def read_gpu(device: str) -> dict[str, Any]:
    """The figures of a torch device such as ``cuda:0``."""
    import torch

    return gpu_figures(torch.cuda.get_device_properties(device), open_meter(device))


def gpu_figures(properties: Any, meter: NvmlMeter | Missing) -> dict[str, Any]:
    """JSON-ready; a figure that cannot be had is null beside ``<key>_reason``.

    ``properties``: what ``torch.cuda.get_device_properties`` returns; sizes in bytes, clocks in MHz.
    """
    out: dict[str, Any] = {
        "name": str(properties.name),
        "kind": "gpu",
        "capability": f"{properties.major}.{properties.minor}",
        "sm_count": int(properties.multi_processor_count),
        "l2_bytes": int(properties.L2_cache_size),
        "l2_ways": 16,
        "line_bytes": 128,
        "sector_bytes": 32,
        "memory_bytes": int(properties.total_memory),
    }
    out |= _clocks(meter)
    clock, width, sm_clock = (out[k] for k in ("memory_clock_mhz", "memory_bus_bits", "sm_clock_mhz"))
    sliced = "" if isinstance(meter, Missing) or not is_sliced(meter) else SLICED
    if sliced or not clock or not width:
        unread = out.get("memory_clock_mhz_reason") or out.get("memory_bus_bits_reason")
        out |= {"dram_gb_s": None, "dram_gb_s_reason": sliced or unread or "NVML names no clock or bus width"}
    else:
        out["dram_gb_s"] = peaks(out)["dram_gb_s"]
    rates = RATES.get((properties.major, properties.minor))
    if rates is None or not sm_clock:
        why = out.get("sm_clock_mhz_reason") or "NVML names no SM clock"
        if rates is None:
            why = f"no peak rates are known for compute capability {out['capability']}"
        out |= {"tflops": None, "tflops_reason": why}
    else:
        out["tflops"] = peaks(out)["tflops"]
    return {**out, "how": dict(HOW), "notes": []}


def peaks(figures: Mapping[str, Any]) -> dict[str, Any]:
    """``dram_gb_s`` and ``tflops`` from clocks, widths and counts; None where one of those is not there."""
    clock, width, sm_clock = (figures[k] for k in ("memory_clock_mhz", "memory_bus_bits", "sm_clock_mhz"))
    major, minor = map(int, figures["capability"].split("."))
    halved = GEFORCE_HALVED if "GeForce" in figures["name"] else ()
    rates = {f: rate / 2 if f in halved else rate for f, rate in RATES.get((major, minor), {}).items()}
    a_clock = figures["sm_count"] * (sm_clock or 0) * 1e6 / 1e12
    return {
        "dram_gb_s": 2e6 * clock * width / 8 / 1e9 if clock and width else None,
        "tflops": {f: rate * a_clock for f, rate in rates.items()} if a_clock and rates else None,
    }


def _clocks(meter: NvmlMeter | Missing) -> dict[str, Any]:
    """Highest SM and memory clocks and the width of the memory bus."""
    keys = ("sm_clock_mhz", "memory_clock_mhz", "memory_bus_bits")
    if isinstance(meter, Missing):
        return {k: v for key in keys for k, v in ((key, None), (f"{key}_reason", meter.reason))}
    nvml, handle = meter.nvml, meter.handle
    reads: tuple[Callable[[], Any], ...] = (
        lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
        lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),
        lambda: nvml.nvmlDeviceGetMemoryBusWidth(handle),
    )
    out: dict[str, Any] = {}
    for key, ask in zip(keys, reads, strict=True):
        try:
            out[key] = int(ask())
        except nvml.NVMLError as error:
            out[key], out[f"{key}_reason"] = None, f"NVML: {error}"
    return out
