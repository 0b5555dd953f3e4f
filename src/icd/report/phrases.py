"""Pieces of the report's sentences: a figure with its interval, the model, the compression, a reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.folder import dig
from icd.report.numbers import interval, is_number, signed

HEADLINE = "iterative_vs_linear"


def figure(block: Mapping[str, Any], unit: str = "%") -> str:
    """``−12.3 % (95 % interval −13.0 to −11.5 %, n = 5 processes)``."""
    value = signed(block.get("delta_pct", block.get("delta")))
    if block.get("source") == "simulated":
        return f"{value} {unit}"
    n = block.get("n_units")
    units = f"n = {n} process{'' if n == 1 else 'es'}"
    if block.get("ci95") is None:
        return f"{value} {unit} (no interval, {units})"
    return f"{value} {unit} (95 % interval {interval(block['ci95'])} {unit}, {units})"


def named(metrics: Mapping[str, Any]) -> bool:
    """Whether the record says how the rounds of a process became its unit; earlier ones took their mean."""
    return "summary" in (metrics.get("derivation") or {})


def mean_beside(block: Mapping[str, Any], *, alike: bool = False) -> str:
    """What the mean of all iterations says where it lies further from the median than the noise floor.

    Empty where it does not, and with ``alike`` also where the two do not part alike in every process.
    """
    value, floor, gap = (block.get(key) for key in ("mean_delta_pct", "floor_pct", "mean_gap_ci95"))
    if not is_number(value) or abs(value - block["delta_pct"]) <= (floor or 0.0):
        return ""
    systematic = gap is not None and not gap[0] <= 0 <= gap[1]
    if alike and not systematic:
        return ""
    ends = block.get("mean_ci95")
    said = f" (95 % interval {interval(ends)} %)" if ends else ""
    cause = (
        "The two part alike in every process, so slow iterations belong to one of the arms; in total time, "
        "which throughput follows, the mean counts."
        if systematic
        else "The two do not part alike in every process, as where other programs take time from some "
        "iterations."
    )
    typical = f"{signed(block['delta_pct'])} % is of medians"
    return f"{typical}; the mean of all iterations is {signed(value)} %{said}. {cause}"


def no_device(metrics: Mapping[str, Any]) -> bool:
    """Whether the run's device is a simulated one."""
    tags = metrics.get("tags") or ()
    return "simulated" in tags and "emulated" not in tags


def emulated(metrics: Mapping[str, Any]) -> str:
    """That a precision was rounded to and not executed, as the beginning of a sentence; else empty."""
    if "emulated" not in (metrics.get("tags") or ()):
        return ""
    name = dig(metrics, "config", "precision")
    return f"Simulated: {name} was not executed here but rounded to and computed in float32; so emulated, "


def compression(metrics: Mapping[str, Any]) -> str:
    """``channel sparsity 0.5``, or what else was done to the values."""
    transform, sparsity = dig(metrics, "config", "transform"), dig(metrics, "config", "sparsity")
    if transform in (None, "none", "nothing"):
        return "no compression at all"
    return f"{transform} sparsity {sparsity:g}" if is_number(sparsity) else str(transform)


def equivalence_pct(metrics: Mapping[str, Any]) -> float:
    """The margin inside which two arms count as equal: as recorded, else 1 % on a GPU and 3 % on a CPU."""
    recorded = dig(metrics, "compare", HEADLINE, "latency", "equivalence_pct")
    if is_number(recorded):
        return float(recorded)
    return 1.0 if str(dig(metrics, "config", "device")).startswith("cuda") else 3.0


def model(metrics: Mapping[str, Any]) -> str:
    """The model's name."""
    return str(dig(metrics, "model", "name") or "the model")


def why(block: Mapping[str, Any]) -> str:
    """A block's own reason."""
    return str(block.get("reason") or "no reason recorded")


def l2_name(metrics: Mapping[str, Any]) -> str:
    """The figure of the L2 that the run compares (``measure.l2_compared``)."""
    asked = dig(metrics, "derivation", "l2_metric")
    return "L2 lookup hits" if asked == "l2_lookup_hit_pct" else "L2 served"


def capital(text: str) -> str:
    """The first letter in upper case, the rest untouched."""
    return text[:1].upper() + text[1:]
