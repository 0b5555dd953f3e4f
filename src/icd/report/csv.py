"""``report.csv``: one row per arm and one per comparison, flat, units in the column names."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icd.report.folder import dig, load

RUN = {
    "run_id": ("run_id",),
    "model": ("model", "name"),
    "weights": ("model", "weights"),
    **{
        key: ("config", key)
        for key in (
            "pipeline",
            "transform",
            "sparsity",
            "precision",
            "seq_len",
            "batch_size",
            "device",
            "seed",
        )
    },
}
ARM = {
    "latency_mean_ms": ("latency_ms", "mean"),
    "latency_p50_ms": ("latency_ms", "p50"),
    "latency_p95_ms": ("latency_ms", "p95"),
    "latency_ci95_lo_ms": ("latency_ms", "ci95", 0),
    "latency_ci95_hi_ms": ("latency_ms", "ci95", 1),
    "latency_samples_n": ("latency_ms", "n"),
    "latency_source": ("latency_ms", "source"),
    "throughput_tok_s": ("throughput_tok_s",),
    "l2_served_pct": ("l2", "served_pct"),
    "l2_lookup_hit_pct": ("l2", "lookup_hit_pct"),
    "dram_bytes_per_token": ("l2", "dram_bytes_per_token"),
    "l2_source": ("l2", "source"),
    "ept_j_per_token": ("energy", "ept_j"),
    "power_w": ("energy", "watts"),
    "idle_power_w": ("energy", "idle_watts"),
    "energy_source": ("energy", "source"),
    "quality_metric": ("quality", "metric"),
    "quality_value": ("quality", "value"),
    "quality_source": ("quality", "source"),
    "cost_C": ("cost", "C"),
    "cost_Q": ("cost", "Q"),
    "cost_J": ("cost", "J"),
    "tiles_live": ("tiles", "live"),
    "tiles_total": ("tiles", "total"),
    "engine": ("engine",),
    "dtype": ("executed", "dtype"),
    "executed_source": ("executed", "source"),
    "engine_check_max_rel_err": ("engine_check", "max_rel_err"),
    "engine_check_tolerance": ("engine_check", "tolerance"),
    "engine_check_ok": ("engine_check", "ok"),
}
BLOCKS = ("latency", "ept", "dram")
COMPARISON = {
    **{
        column: path
        for block in BLOCKS
        for column, path in {
            f"{block}_delta_pct": (block, "delta_pct"),
            f"{block}_ci_lo_pct": (block, "ci95", 0),
            f"{block}_ci_hi_pct": (block, "ci95", 1),
            f"{block}_n_units": (block, "n_units"),
            f"{block}_verdict": (block, "verdict"),
            f"{block}_floor_pct": (block, "floor_pct"),
            f"{block}_p_value": (block, "p_value"),
            f"{block}_p_holm": (block, "p_holm"),
            f"{block}_delta_source": (block, "source"),
        }.items()
    },
    "l2_delta_pp": ("l2_pp", "delta"),
    "l2_ci_lo_pp": ("l2_pp", "ci95", 0),
    "l2_ci_hi_pp": ("l2_pp", "ci95", 1),
    "l2_n_units": ("l2_pp", "n_units"),
    "l2_metric": ("l2_pp", "metric"),
    "l2_regime": ("l2_pp", "regime"),
    "C_delta_pct": ("cost", "C_delta_pct"),
    "Q_delta": ("cost", "Q_delta"),
    "tiles_delta_pct": ("tiles", "delta_pct"),
    "quality_pp": ("quality_pp",),
    "quality_vs_dense_pp": ("quality_vs_dense_pp",),
}
COLUMNS = ("kind", "name", *RUN, *ARM, *COMPARISON, "reason")


def write_csv(folder: Path) -> None:
    """Write ``folder/report.csv``; what is not there is empty, with the reasons in the last column."""
    temporary = folder / ".report.csv.tmp"
    with temporary.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows(load(folder).metrics))
    temporary.replace(folder / "report.csv")


def rows(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of ``report.csv`` by column name."""
    run = _pick(metrics, RUN)
    out = []
    for kind, columns in (("arm", ARM), ("comparison", COMPARISON)):
        found = metrics.get("arms" if kind == "arm" else "compare") or {}
        for name, block in found.items():
            reason = "; ".join(dict.fromkeys(reasons(block)))
            out.append({"kind": kind, "name": name, **run, **_pick(block, columns), "reason": reason})
    return out


def reasons(block: Any, where: str = "") -> Iterable[str]:
    """Every recorded reason below ``block``, with the key it stands beside."""
    if not isinstance(block, Mapping):
        return
    for key, value in block.items():
        if (key == "reason" or key.endswith("_reason")) and value:
            yield f"{key.removesuffix('reason').rstrip('_') or where}: {value}".removeprefix(": ")
        elif key != "diagnostics":
            yield from reasons(value, key)


def _pick(block: Mapping[str, Any], columns: Mapping[str, tuple[Any, ...]]) -> dict[str, str]:
    return {column: _text(_at(block, path)) for column, path in columns.items()}


def _at(block: Any, path: tuple[Any, ...]) -> Any:
    """`dig`, with a number at the end of a path that picks an end of an interval."""
    if isinstance(path[-1], int):
        ends = dig(block, *path[:-1])
        return None if ends is None else ends[path[-1]]
    return dig(block, *path)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
