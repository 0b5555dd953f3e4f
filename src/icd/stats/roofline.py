"""How far an arm is from what its device could do at best: counted work, figures of the device, latency.

    compute_ms    sum over formats of flops / peak rate of the format
    memory_ms     bytes / memory bandwidth
    bound_ms      the larger of the two (Williams, Waterman and Patterson 2009), whose name is ``limit``
    of_bound_pct  100 bound_ms / latency; 100 is the roofline

Bytes count as on a cold cache, so an arm whose data stays in cache from one forward to the next can pass the
memory side of its bound. A pure function: the pipeline writes its result, `icd verify` computes it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BOUND = ("bound_ms", "of_bound_pct", "limit")


def roofline(
    parts: Sequence[Mapping[str, Any]], hardware: Mapping[str, Any], latency: Mapping[str, Any]
) -> dict[str, Any]:
    """``arms.<arm>.roofline``.

    ``parts``: what `icd.measure.work.count` gives; ``hardware``: what `icd.measure.hardware.resolve` does;
    ``latency``: the arm's ``latency_ms``. What cannot be said is null, with one ``reason`` for all of it.
    """
    flops, moved = (float(sum(part[key] for part in parts)) for key in ("flops", "bytes"))
    mean = latency["mean"] if latency["source"] == "measured" else None
    out: dict[str, Any] = {
        "flops": flops,
        "bytes": moved,
        "weight_bytes": float(sum(part["weight_bytes"] for part in parts)),
        "intensity": flops / moved if moved else None,
        "achieved_tflop_s": flops / mean / 1e9 if mean else None,
        "achieved_gb_s": moved / mean / 1e6 if mean else None,
        **dict.fromkeys(("compute_ms", "memory_ms", *BOUND)),
        "parts": [dict(part) for part in parts],
    }
    why = _obstacle(parts, hardware, latency)
    if why:
        return {**out, "reason": why}
    tflops = hardware["tflops"]
    compute = sum(part["flops"] / tflops[part["rate"]] for part in parts if part["flops"]) / 1e9
    memory = moved / hardware["dram_gb_s"] / 1e6
    bound = max(compute, memory)
    return {
        **out,
        "compute_ms": compute,
        "memory_ms": memory,
        "bound_ms": bound,
        "of_bound_pct": 100.0 * bound / latency["mean"],
        "limit": "compute" if compute >= memory else "memory",
    }


def _obstacle(
    parts: Sequence[Mapping[str, Any]], hardware: Mapping[str, Any], latency: Mapping[str, Any]
) -> str:
    """Why there is no bound; empty where there is one."""
    if latency["source"] == "simulated":
        return "the latency is simulated: its distance from a roofline would say nothing"
    if latency["mean"] is None:
        return f"no latency: {latency.get('reason', 'not measured')}"
    if not hardware["is_device"]:
        return "; ".join(hardware["notes"])
    if not any(part["bytes"] for part in parts):
        return "no operator of the forward could be counted"
    if hardware["dram_gb_s"] is None:
        return f"memory bandwidth is not known: {hardware['dram_gb_s_reason']}"
    known = hardware["tflops"] or {}
    lacking = sorted({part["rate"] for part in parts if part["flops"]} - set(known))
    if lacking:
        why = hardware.get("tflops_reason")
        said = f"no peak rate of {', '.join(lacking)} is known of {hardware['name']}"
        return f"{said}: {why}" if why else said
    return ""
