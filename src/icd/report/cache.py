"""The cache, warm and cold, as tables: what each arm read from where, and which kernels moved the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.figures.ratios import label, order
from icd.report.numbers import interval, number, plain_interval, signed
from icd.report.phrases import l2_name
from icd.report.table import Cell, Table

REGIMES = (("l2", "warm"), ("l2_cold", "cold"))
ARM_HEADINGS = (
    ("arm", ""),
    *(
        heading
        for _, regime in REGIMES
        for heading in (
            (f"served, {regime}", "%"),
            (f"lookup hits, {regime}", "%"),
            (f"DRAM, {regime}", "kB/token"),
        )
    ),
    ("latency, cold", "ms"),
    ("95 % interval", "ms"),
)
PAIR_HEADINGS = (
    ("comparison", ""),
    ("served, warm", "pp"),
    ("95 % interval", "pp"),
    ("served, cold", "pp"),
    ("95 % interval", "pp"),
    ("DRAM, warm", "%"),
    ("DRAM, cold", "%"),
    ("latency, cold", "%"),
    ("95 % interval", "%"),
)
DIFFERENCES = (
    "Warm: a second forward right behind a first one, less the first; cold: a forward right behind a flush, "
    "less the flush. What a forward leaves modified in the cache at its end is counted warm, where the next "
    "one pushes it out, and not cold."
)
SIMULATED = (
    "Warm: the cache holds what the forward before left; cold: it was flushed. DRAM bytes of a simulated "
    "cache are reads alone, without what is written back."
)
KERNEL_HEADINGS = (("arm", ""), ("kernel", ""), ("launches", ""), ("DRAM", "kB"), ("share", "%"))
TOP = 5


def arms(metrics: Mapping[str, Any]) -> Table:
    """One row an arm with any cache figure; empty where none was measured or simulated."""
    table = Table(ARM_HEADINGS)
    for name, arm in (metrics.get("arms") or {}).items():
        cold = arm.get("latency_cold_ms") or {}
        blocks = [arm.get(block) or {} for block, _ in REGIMES]
        if cold.get("mean") is None and all(block.get("served_pct") is None for block in blocks):
            continue
        row = [Cell(name, kind="name")]
        for block in blocks:
            dram = block.get("dram_bytes_per_token")
            why, source = block.get("reason"), block.get("source")
            shown = [number(block.get(key), 3) for key in ("served_pct", "lookup_hit_pct")]
            shown.append(number(None if dram is None else dram / 1e3, 4))
            row += [table.cell(text, why, source=source) for text in shown]
        row += [table.cell(number(cold.get("mean")), cold.get("reason"), source=cold.get("source"))]
        row += [table.cell(plain_interval(cold.get("ci95")), cold.get("reason"))]
        table.rows.append(row)
    return table


def comparisons(metrics: Mapping[str, Any]) -> Table:
    """One row a comparison with any cache figure."""
    figure = l2_name(metrics).removeprefix("L2 ")
    table = Table(tuple((name.replace("served", figure), unit) for name, unit in PAIR_HEADINGS))
    compared = metrics.get("compare") or {}
    for name in order(compared):
        blocks = {
            key: compared[name].get(key) or {}
            for key in ("l2_pp", "l2_cold_pp", "dram", "dram_cold", "latency_cold")
        }
        if all(b.get("delta", b.get("delta_pct")) is None for b in blocks.values()):
            continue
        row = [Cell(label(name), kind="name")]
        for key in ("l2_pp", "l2_cold_pp"):
            block = blocks[key]
            row += [
                table.cell(signed(block.get("delta"), 2), block.get("reason"), source=block.get("source"))
            ]
            row += [table.cell(interval(block.get("ci95"), 2), block.get("reason"))]
        for key in ("dram", "dram_cold", "latency_cold"):
            block = blocks[key]
            row += [
                table.cell(signed(block.get("delta_pct")), block.get("reason"), source=block.get("source"))
            ]
        row += [
            table.cell(interval(blocks["latency_cold"].get("ci95")), blocks["latency_cold"].get("reason"))
        ]
        table.rows.append(row)
    return table


def regimes(ncu: Mapping[str, Any]) -> str:
    """What warm and cold mean in this run; ``ncu``: ``ncu.json``, empty where the cache was simulated."""
    return DIFFERENCES if ncu.get("runs") else SIMULATED


def kernels(ncu: Mapping[str, Any]) -> Table:
    """The kernels of each arm that move most DRAM bytes in a forward, the cache as the profiler left it."""
    table = Table(KERNEL_HEADINGS)
    for entry in ncu.get("kernels") or ():
        for found in entry["top_kernels"][:TOP]:
            table.rows.append(
                [
                    Cell(entry["arm"], kind="name"),
                    Cell(found["name"][:80], kind="text"),
                    Cell(number(found["launches"])),
                    Cell(number(found["dram_bytes"] / 1e3, 4)),
                    Cell(number(100 * found["share"], 3)),
                ]
            )
    return table
