"""How far each comparison can be trusted, as a table: effect size, outliers and what they change, drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.figures.ratios import label, order
from icd.report.folder import dig
from icd.report.numbers import interval, number, signed
from icd.report.table import Cell, Table

HEADINGS = (
    ("comparison", ""),
    ("effect", "mean / sd of processes"),
    ("rounds", ""),
    ("outlying", "rounds"),
    ("latency", "%"),
    ("without outliers", "%"),
    ("95 % interval without", "%"),
    ("lag-1 autocorrelation", ""),
)


def diagnostics(metrics: Mapping[str, Any]) -> Table:
    """One row a latency comparison that was measured."""
    table = Table(HEADINGS)
    compared = metrics.get("compare") or {}
    for name in order(compared):
        block = compared[name].get("latency") or {}
        found = block.get("diagnostics")
        if not found or block.get("source") != "measured":
            continue
        lag = found.get("lag1") or {}
        drift = number(lag.get("value"), 2) + (" (drift)" if lag.get("flagged") else "")
        why = block.get("reason")
        row = [Cell(label(name), kind="name"), table.cell(number(block.get("effect"), 3), why)]
        row += [table.cell(number(found.get(key))) for key in ("rounds", "outliers")]
        row += [table.cell(signed(block.get("delta_pct"), 2), why)]
        row += [table.cell(signed(found.get("delta_pct_without_outliers"), 2), why)]
        no_interval = found.get("ci95_without_outliers_reason")
        row += [table.cell(interval(found.get("ci95_without_outliers"), 2), no_interval)]
        row += [table.cell(drift, dig(lag, "reason"))]
        table.rows.append(row)
    return table
