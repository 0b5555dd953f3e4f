"""How far each arm is from its device's roofline, as a table, and what the device's figures are from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.folder import dig
from icd.report.numbers import DASH, number
from icd.report.table import Cell, Table, text_of

HEADINGS = (
    ("arm", ""),
    ("latency", "ms"),
    ("bound", "ms"),
    ("of bound", "%"),
    ("limit", ""),
    ("arithmetic", "GFLOP"),
    ("least bytes", "MB"),
    ("intensity", "FLOP/byte"),
    ("achieved", "TFLOP/s"),
    ("achieved", "GB/s"),
)


def rooflines(metrics: Mapping[str, Any]) -> Table:
    """One row an arm whose work was counted."""
    table = Table(HEADINGS)
    for name, arm in (metrics.get("arms") or {}).items():
        found = arm.get("roofline")
        if not found:
            continue
        latency, why = arm.get("latency_ms") or {}, found.get("reason")
        source = latency.get("source")
        row = [Cell(name, kind="name")]
        row += [table.cell(number(latency.get("mean")), latency.get("reason"), source=source)]
        row += [table.cell(number(found.get(key), 3), why) for key in ("bound_ms", "of_bound_pct")]
        row += [table.cell(text_of(found.get("limit")), why, kind="text")]
        row += [table.cell(number(_scaled(found, "flops", 1e9)), why)]
        row += [table.cell(number(_scaled(found, "bytes", 1e6)), why)]
        row += [table.cell(number(found.get("intensity"), 3), why)]
        row += [table.cell(number(found.get(k), 3), why) for k in ("achieved_tflop_s", "achieved_gb_s")]
        table.rows.append(row)
    return table


def _scaled(found: Mapping[str, Any], key: str, unit: float) -> float | None:
    value = found.get(key)
    return None if value is None else value / unit


def device(metrics: Mapping[str, Any]) -> str:
    """The device's figures in a sentence; empty where none were recorded."""
    found = metrics.get("hardware")
    if not found:
        return ""
    peaks = ", ".join(f"{name} {number(rate, 3)}" for name, rate in (found.get("tflops") or {}).items())
    origin = "read from the device" if found.get("source") == "read" else "from a file"
    if found.get("kind") == "cpu":
        origin = "measured on this machine"
    moved = number(found.get("dram_gb_s"))
    said = f"{found.get('name')}, {origin}: memory {moved} GB/s; TFLOP/s at best: {peaks or DASH}."
    how = [dig(found, "how", key) for key in ("dram_gb_s", "tflops")]
    known = [f"{what}: {text}" for what, text in zip(("Memory", "Arithmetic"), how, strict=True) if text]
    return " ".join([said, *(f"{text}." for text in known)])


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on figures that are those of another device than the one found."""
    found = metrics.get("hardware") or {}
    if found.get("source") != "file" or "found" not in found:
        return []
    return [f"{str(note)[0].upper()}{str(note)[1:]}." for note in found.get("notes") or ()]
