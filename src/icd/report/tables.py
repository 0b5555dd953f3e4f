"""What was measured, as tables: arms, comparisons and gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.figures.ratios import label, order
from icd.report.folder import dig
from icd.report.numbers import DASH, interval, is_number, minus, number, plain_interval, signed
from icd.report.phrases import l2_name, named
from icd.report.table import Cell, Table, text_of

SHARES = ("cosine", "agreement", "accuracy")  # at most 1

ARM_HEADINGS = (
    ("arm", ""),
    ("latency mean", "ms"),
    ("p50", "ms"),
    ("p95", "ms"),
    ("95 % interval", "ms, of the mean"),
    ("samples", ""),
    ("throughput", "tokens/s"),
    ("L2 served", "%"),
    ("energy per token", "mJ"),
    ("above idle", "mJ/token"),
    ("quality", ""),
    ("C", ""),
    ("Q", ""),
    ("J", ""),
    ("tiles", "live / all"),
    ("engine", ""),
    ("dtype", ""),
    ("engine check", "max rel. error"),
)


def arms(metrics: Mapping[str, Any]) -> Table:
    """One row an arm."""
    table = Table(ARM_HEADINGS)
    for name, arm in (metrics.get("arms") or {}).items():
        latency, l2, energy = (arm.get(k) or {} for k in ("latency_ms", "l2", "energy"))
        quality, cost, tiles = (arm.get(k) or {} for k in ("quality", "cost", "tiles"))
        why, timed = latency.get("reason"), latency.get("source")
        row = [
            Cell(name, kind="name"),
            *(table.cell(number(latency.get(k)), why, source=timed) for k in ("mean", "p50", "p95")),
        ]
        row += [table.cell(plain_interval(latency.get("ci95")), why)]
        row += [table.cell(number(latency.get("n")), why)]
        row += [table.cell(number(arm.get("throughput_tok_s"), 5), arm.get("reason"), why, source=timed)]
        row += [table.cell(number(l2.get("served_pct"), 3), l2.get("reason"), source=l2.get("source"))]
        for ept in (energy.get("ept_j"), energy.get("ept_net_j")):
            ept_mj = number(1e3 * ept if ept is not None else None, 3)
            row += [table.cell(ept_mj, energy.get("reason"), source=energy.get("source"))]
        row += [table.cell(_quality(quality), quality.get("reason"))]
        row += [table.cell(number(cost.get(k), 3), cost.get("reason")) for k in ("C", "Q", "J")]
        row += [table.cell(_tiles(tiles), tiles.get("reason"))]
        row += [
            table.cell(text_of(v), kind="text") for v in (arm.get("engine"), dig(arm, "executed", "dtype"))
        ]
        table.rows.append([*row, _check(table, arm.get("engine_check") or {})])
    return table


def _quality(quality: Mapping[str, Any]) -> str:
    value, metric = quality.get("value"), quality.get("metric")
    if value is None or not is_number(value):
        return DASH
    return f"{value:.4f} {metric}" if metric in SHARES else f"{number(value)} {metric or ''}".strip()


def _tiles(tiles: Mapping[str, Any]) -> str:
    return f"{tiles['live']} / {tiles['total']}" if is_number(tiles.get("live")) else DASH


def _check(table: Table, check: Mapping[str, Any]) -> Cell:
    if not is_number(check.get("max_rel_err")):
        return table.cell(DASH, check.get("reason"))
    sign = "≤" if check.get("ok") else "exceeds"
    said = f"{number(check['max_rel_err'], 2)} {sign} {check.get('tolerance'):g}"
    return Cell(said, kind="pass" if check.get("ok") else "fail")


COMPARISON_HEADINGS = (
    ("comparison", ""),
    ("latency", "%"),
    ("95 % interval", "%"),
    ("verdict", ""),
    ("n", "processes"),
    ("floor", "± %"),
    ("p", "Holm"),
    ("energy per token", "%"),
    ("L2 served", "pp"),
    ("DRAM bytes", "%"),
    ("C", "%"),
    ("Q", "difference"),
    ("tiles", "%"),
    ("quality", "pp"),
    ("quality vs dense", "pp"),
)


BESIDE = ("mean", "%, all iterations")
APART = "energy per token"  # the first column of the second of two tables


def comparison_headings(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headings of a record; one that names its summary has the mean beside the median."""
    out = [(l2_name(metrics) if name == "L2 served" else name, unit) for name, unit in COMPARISON_HEADINGS]
    return [out[0], ("latency", "%, median"), out[2], BESIDE, *out[3:]] if named(metrics) else out


def comparison_parts(table: Table) -> list[Table]:
    """The table of comparisons in two: latency, and what else there is."""
    cut = [name for name, _ in table.headings].index(APART)
    return [table.columns(1, cut), table.columns(cut)]


def comparisons(metrics: Mapping[str, Any]) -> Table:
    """One row a comparison, in the order of the ratio plot."""
    table = Table(comparison_headings(metrics))
    compared = metrics.get("compare") or {}
    for name in order(compared):
        found = compared[name]
        latency, cost = found.get("latency") or {}, found.get("cost") or {}
        why = latency.get("reason")
        row = [
            Cell(label(name), kind="name"),
            table.cell(signed(latency.get("delta_pct")), why, source=latency.get("source")),
        ]
        row += [table.cell(interval(latency.get("ci95")), why)]
        row += [_change(table, latency, "mean_delta_pct", "mean_ci95")] if named(metrics) else []
        row += [
            table.cell(text_of(latency.get("verdict")), why, kind=f"outcome {latency.get('verdict') or ''}")
        ]
        row += [table.cell(number(latency.get("n_units")), why)]
        row += [table.cell(number(latency.get("floor_pct"), 3), latency.get("floor_reason"), why)]
        no_p = "A/A is left out of the correction" if name == "aa" else why
        row += [table.cell(number(latency.get("p_holm"), 2), no_p)]
        for block in ("ept", "l2_pp", "dram"):
            row += [_change(table, found.get(block) or {})]
        row += [table.cell(signed(cost.get("C_delta_pct"), 2), cost.get("reason"))]
        row += [table.cell(signed(cost.get("Q_delta"), 4), cost.get("reason"))]
        row += [table.cell(signed(dig(found, "tiles", "delta_pct")), dig(found, "tiles", "reason"))]
        no_quality = found.get("quality_reason")
        row += [table.cell(signed(found.get("quality_pp"), 2), no_quality)]
        not_to_dense = found.get("quality_vs_dense_reason")
        row += [table.cell(signed(found.get("quality_vs_dense_pp"), 2), not_to_dense, no_quality)]
        table.rows.append(row)
    return table


def _change(
    table: Table, block: Mapping[str, Any], key: str = "delta_pct", interval_key: str = "ci95"
) -> Cell:
    value = signed(block.get(key, block.get("delta")))
    ends = block.get(interval_key)
    return table.cell(
        f"{value} [{interval(ends)}]" if ends else value, block.get("reason"), source=block.get("source")
    )


GATE_WORDS = {True: "pass", False: "fail", None: "undecided"}
GATE_NAMES = {
    "latency": "latency",
    "ept": "energy per token",
    "quality_loss": "quality loss",
    "cost_c": "C, cache distance",
    "q_not_lower": "Q, not lower",
}
AT_LEAST = ("l2", "q_not_lower")  # the others ask for at most the threshold
GATE_UNITS = {"latency": "%", "l2": "pp", "ept": "%", "quality_loss": "pp", "cost_c": "%", "q_not_lower": ""}


def gates(metrics: Mapping[str, Any]) -> Table:
    """One row a check, the gate's own outcome in its first row."""
    table = Table(
        (
            ("gate", ""),
            ("outcome", ""),
            ("check", ""),
            ("threshold", ""),
            ("value", ""),
            ("95 % interval", ""),
            ("p", "one-sided"),
            ("result", ""),
        )
    )
    names = {**GATE_NAMES, "l2": l2_name(metrics)}
    for name, gate in (metrics.get("gates") or {}).items():
        for i, check in enumerate(gate.get("checks") or ()):
            unit = GATE_UNITS.get(check.get("name"), "")
            outcome, own = GATE_WORDS[gate.get("pass")], GATE_WORDS[check.get("pass")]
            row = [Cell(name if not i else "", kind="name"), Cell(outcome if not i else "", kind=outcome)]
            sign = "≥ " if check.get("name") in AT_LEAST else "≤ "
            row += [
                Cell(names.get(check.get("name"), str(check.get("name")).replace("_", " "))),
                Cell(_with(_threshold(check.get("threshold"), sign), unit)),
            ]
            row += [
                Cell(_with(signed(check.get("value"), 2 if unit else 4), unit)),
                Cell(_with(interval(check.get("ci95")), unit)),
                Cell(number(check.get("p_value"), 2)),
            ]
            reason = check.get("reason") or ""
            if check.get("required") is False:
                reason = "; ".join(filter(None, ("not required", reason)))
            table.rows.append([*row, table.noted(own, reason, kind=own)])
    return table


def _threshold(value: Any, sign: str) -> str:
    return minus(f"{sign}{value:g}") if is_number(value) else DASH


def _with(text: str, unit: str) -> str:
    return text if text == DASH or not unit else f"{text} {unit}"
