"""``report.csv``: a row an arm, a comparison and a gate's check, flat, units in the column names.

After a rollback by measurement there is a row for every cause that was examined, and those of the first
measurement's arms and comparisons, of kinds ``arm before rollback`` and ``comparison before rollback``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icd.newfile import replace_file
from icd.report.folder import dig, load
from icd.report.phrases import named

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
    "latency_cold_mean_ms": ("latency_cold_ms", "mean"),
    "latency_cold_ci95_lo_ms": ("latency_cold_ms", "ci95", 0),
    "latency_cold_ci95_hi_ms": ("latency_cold_ms", "ci95", 1),
    "l2_cold_served_pct": ("l2_cold", "served_pct"),
    "l2_cold_lookup_hit_pct": ("l2_cold", "lookup_hit_pct"),
    "dram_cold_bytes_per_token": ("l2_cold", "dram_bytes_per_token"),
    "ept_j_per_token": ("energy", "ept_j"),
    "ept_above_idle_j_per_token": ("energy", "ept_net_j"),
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
    "roofline_flops": ("roofline", "flops"),
    "roofline_bytes": ("roofline", "bytes"),
    "intensity_flop_per_byte": ("roofline", "intensity"),
    "achieved_tflop_s": ("roofline", "achieved_tflop_s"),
    "achieved_gb_s": ("roofline", "achieved_gb_s"),
    "roofline_bound_ms": ("roofline", "bound_ms"),
    "of_bound_pct": ("roofline", "of_bound_pct"),
    "roofline_limit": ("roofline", "limit"),
}
BLOCKS = ("latency", "latency_cold", "ept", "ept_net", "dram", "dram_cold")
NAMED = {  # of a record that says how rounds became units
    **{f"{block}_summary": (block, "summary") for block in BLOCKS},
    **{
        column: path
        for block in ("latency", "latency_cold")
        for column, path in {
            f"{block}_mean_delta_pct": (block, "mean_delta_pct"),
            f"{block}_mean_ci_lo_pct": (block, "mean_ci95", 0),
            f"{block}_mean_ci_hi_pct": (block, "mean_ci95", 1),
        }.items()
    },
}
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
            f"{block}_effect_dz": (block, "effect"),
            f"{block}_rounds": (block, "diagnostics", "rounds"),
            f"{block}_outlying_rounds": (block, "diagnostics", "outliers"),
            f"{block}_delta_without_outliers_pct": (block, "diagnostics", "delta_pct_without_outliers"),
            f"{block}_ci_lo_without_outliers_pct": (block, "diagnostics", "ci95_without_outliers", 0),
            f"{block}_ci_hi_without_outliers_pct": (block, "diagnostics", "ci95_without_outliers", 1),
            f"{block}_lag1": (block, "diagnostics", "lag1", "value"),
        }.items()
    },
    **NAMED,
    "l2_delta_pp": ("l2_pp", "delta"),
    "l2_ci_lo_pp": ("l2_pp", "ci95", 0),
    "l2_ci_hi_pp": ("l2_pp", "ci95", 1),
    "l2_n_units": ("l2_pp", "n_units"),
    "l2_metric": ("l2_pp", "metric"),
    "l2_regime": ("l2_pp", "regime"),
    "l2_cold_delta_pp": ("l2_cold_pp", "delta"),
    "l2_cold_ci_lo_pp": ("l2_cold_pp", "ci95", 0),
    "l2_cold_ci_hi_pp": ("l2_cold_pp", "ci95", 1),
    "C_delta_pct": ("cost", "C_delta_pct"),
    "Q_delta": ("cost", "Q_delta"),
    "tiles_delta_pct": ("tiles", "delta_pct"),
    "quality_pp": ("quality_pp",),
    "quality_vs_dense_pp": ("quality_vs_dense_pp",),
}
CAUSE = {"supported": ("supported",), "evidence": ("evidence",)}
GATE = {
    "gate_check": ("name",),
    "gate_threshold": ("threshold",),
    "gate_value": ("value",),
    "gate_p_value": ("p_value",),
    "gate_pass": ("pass",),
}
NAME = "report.csv"
# what begins a formula, in all widths, or hides one that begins behind it
FORMULA = tuple("=+-@\t\r\n＝＋－＠")
COLUMNS = ("kind", "name", *RUN, *ARM, *COMPARISON, *GATE, *CAUSE, "reason")


def columns(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The columns of a record."""
    return COLUMNS if named(metrics) else tuple(column for column in COLUMNS if column not in NAMED)


def write_csv(folder: Path) -> None:
    """Write ``folder/report.csv``."""
    replace_file(folder / NAME, content(load(folder).metrics))


def content(metrics: Mapping[str, Any]) -> bytes:
    """``report.csv`` in UTF-8; a character that is no text (of a file's name) is escaped."""
    return encode(metrics).encode("utf-8", "backslashreplace")


def encode(metrics: Mapping[str, Any]) -> str:
    """``report.csv``; what is not there is empty, with the reasons in the last column."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns(metrics), restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: harmless(v) for k, v in row.items()} for row in rows(metrics))
    return out.getvalue()


def harmless(cell: str) -> str:
    """``cell`` with an apostrophe before what a spreadsheet would compute; a number stays one.

    A carriage return would end a row for some readers, and becomes a space.
    """
    if "\r" in cell:
        return harmless(cell.replace("\r", "\n")).replace("\n", " ")
    if not cell.startswith(FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def rows(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rows of ``report.csv`` by column name."""
    run = _pick(metrics, RUN)
    found = metrics.get("rollback") or {}
    out = [*_measured(metrics, run), *_measured(found.get("first") or {}, run, " before rollback")]
    for gate, result in (metrics.get("gates") or {}).items():
        for check in result.get("checks") or ():
            reason = "; ".join(reasons(check))
            out.append({"kind": "gate", "name": gate, **run, **_pick(check, GATE), "reason": reason})
    causes = found.get("root_cause") or ()
    return out + [{"kind": "root cause", "name": c["cause"], **run, **_pick(c, CAUSE)} for c in causes]


def _measured(record: Mapping[str, Any], run: Mapping[str, str], when: str = "") -> list[dict[str, str]]:
    """The rows of one measurement's arms and comparisons."""
    out = []
    for kind, columns in (("arm", ARM), ("comparison", COMPARISON)):
        for name, block in (record.get("arms" if kind == "arm" else "compare") or {}).items():
            reason = "; ".join(dict.fromkeys(reasons(block)))
            picked = _pick(block, columns)
            out.append({"kind": f"{kind}{when}", "name": name, **run, **picked, "reason": reason})
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
