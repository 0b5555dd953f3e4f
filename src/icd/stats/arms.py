"""Raw samples -> the measured blocks of one arm of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.contracts import Sample
from icd.errors import MeasurementError
from icd.stats.compare import summarise

# block of an arm -> (key, metric) of the means it holds
MEANS = {
    "l2": (
        ("served_pct", "l2_served_pct"),
        ("lookup_hit_pct", "l2_lookup_hit_pct"),
        ("dram_bytes_per_token", "dram_bytes_per_token"),
    ),
    "l2_cold": (
        ("served_pct", "l2_served_pct_cold"),
        ("lookup_hit_pct", "l2_lookup_hit_pct_cold"),
        ("dram_bytes_per_token", "dram_bytes_per_token_cold"),
    ),
    "energy": (
        ("ept_j", "energy_j"),
        ("ept_net_j", "energy_net_j"),
        ("watts", "watts"),
        ("idle_watts", "idle_watts"),
    ),
}


def describe(
    by_metric: Mapping[str, Sequence[Sample]],
    arm: str,
    *,
    tokens: int,
    reasons: Mapping[str, str],
    partial: Mapping[str, str],
) -> dict[str, Any]:
    """Latency and L2 figures, warm and cold, ``throughput_tok_s`` and ``energy`` of one arm.

    ``by_metric[metric]``: the run's samples of it; ``tokens``: per forward; ``reasons[metric]``: why a
    metric was not measured; ``partial[block]``: which processes gave it, where some did not; it becomes the
    ``reason`` beside the block's figures, for l2 also beside those of l2_cold. ``ept_j``, gross, and
    ``ept_net_j``, above idle, are J/token, from samples in J/token or in J (per forward).
    Raises MeasurementError for another unit, and for a block that is part measured, part simulated.
    """
    latency = with_reason(
        summarise(by_metric.get("latency_ms", ()), "latency_ms", arm), "latency_ms", reasons
    )
    out: dict[str, Any] = {"latency_ms": latency, "throughput_tok_s": None}
    if latency["mean"] is None:
        out["reason"] = latency["reason"]
    elif tokens <= 0:
        out["reason"] = "the number of tokens per forward is not recorded"
    else:
        out["throughput_tok_s"] = tokens / (latency["mean"] / 1e3)
    out["latency_cold_ms"] = with_reason(
        summarise(by_metric.get("latency_cold_ms", ()), "latency_cold_ms", arm), "latency_cold_ms", reasons
    )
    for block in MEANS:
        out[block] = _means(by_metric, arm, block, reasons, partial.get(block.removesuffix("_cold")))
    for key, metric in MEANS["energy"][:2]:
        if out["energy"][key] is not None:
            unit = next(s.unit for s in by_metric[metric] if s.arm == arm)
            out["energy"][key] *= _per_token(unit, tokens)
    return out


def _means(
    by_metric: Mapping[str, Sequence[Sample]],
    arm: str,
    block: str,
    reasons: Mapping[str, str],
    partial: str | None,
) -> dict[str, Any]:
    """The means of a block, their common source, and why some, or some processes', are not there."""
    found = {
        key: with_reason(summarise(by_metric.get(metric, ()), metric, arm), metric, reasons)
        for key, metric in MEANS[block]
    }
    sources = sorted({summary["source"] for summary in found.values()} - {None})
    if len(sources) > 1:
        raise MeasurementError(f"{block} of arm {arm}: expected one source, got {' and '.join(sources)}")
    out = {key: summary["mean"] for key, summary in found.items()}
    out["source"] = sources[0] if sources else None
    missing = [partial] if partial and sources else []
    missing += [summary["reason"] for summary in found.values() if summary["mean"] is None]
    return {**out, "reason": "; ".join(dict.fromkeys(missing))} if missing else out


def _per_token(unit: str, tokens: int) -> float:
    """The factor from an energy sample's unit to J/token."""
    if unit == "J/token":
        return 1.0
    if unit == "J" and tokens > 0:
        return 1.0 / tokens
    raise MeasurementError(
        f"energy_j: expected J/token, or J with tokens > 0; got {unit} with {tokens} tokens"
    )


def with_reason(result: dict[str, Any], metric: str, reasons: Mapping[str, str]) -> dict[str, Any]:
    """``result`` with the run's own reason where no sample exists."""
    return {**result, "reason": reasons[metric]} if result["source"] is None and metric in reasons else result
