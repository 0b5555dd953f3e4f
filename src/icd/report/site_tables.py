"""What was done, as tables: sites, iterations and what each arm executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report import facts
from icd.report.folder import dig
from icd.report.numbers import DASH, is_number, number
from icd.report.table import Cell, Table, text_of

SITE_HEADINGS = (
    ("site", ""),
    ("group", ""),
    ("channels", "live / all"),
    ("tile", "channels"),
    ("T linear", "kB"),
    ("T sliced", "kB"),
    ("T iterative", "kB"),
    ("C linear", ""),
    ("C iterative", ""),
    ("Q linear", ""),
    ("Q iterative", ""),
    ("π0 from", ""),
    ("π1 from", ""),
    ("solver", "s"),
)


def sites(metrics: Mapping[str, Any]) -> Table:
    """One row a site: geometry, cost per arm under the one graph, and which candidate the solver chose."""
    table = Table(SITE_HEADINGS)
    for site in metrics.get("sites") or ():
        cost, solver = site.get("cost") or {}, site.get("solver") or {}
        row = [Cell(str(site.get("site")), kind="name"), table.cell(text_of(site.get("group")), kind="text")]
        row += [table.cell(f"{number(site.get('live'))} / {number(site.get('channels'))}")]
        row += [table.cell(number(site.get("block")))]
        for arm in ("linear", "sliced", "iterative"):
            bytes_ = dig(cost, arm, "T")
            row += [table.cell(number(bytes_ / 1e3 if is_number(bytes_) else None), f"no arm {arm}")]
        for key in ("C", "Q"):
            for arm in ("linear", "iterative"):
                row += [table.cell(number(dig(cost, arm, key), 3), f"no arm {arm}")]
        for when in ("before", "after"):
            row += [table.cell(text_of(dig(solver, when, "chosen")), "no layout from this step", kind="text")]
        seconds = [dig(solver, when, "seconds") for when in ("before", "after")]
        known = [s for s in seconds if is_number(s)]
        row += [table.cell(number(sum(known), 3) if known else DASH)]
        table.rows.append(row)
    return table


ITERATION_HEADINGS = (
    ("step", ""),
    ("layout", ""),
    ("T", "kB"),
    ("C", ""),
    ("Q", ""),
    ("J", ""),
    ("kept", ""),
    ("reason", ""),
    ("elapsed", "s"),
)


def iterations(metrics: Mapping[str, Any]) -> Table:
    """One row a step of the loop, with the reason of a rollback."""
    table = Table(ITERATION_HEADINGS)
    for i, step in enumerate(metrics.get("iterations") or ()):
        bytes_ = step.get("T")
        kept = {True: "kept", False: "not kept"}.get(step.get("accepted"), "start")
        row = [Cell(str(i)), Cell(text_of(step.get("pi_hash")), kind="text")]
        row += [table.cell(number(bytes_ / 1e3 if is_number(bytes_) else None))]
        row += [table.cell(number(step.get(k))) for k in ("C", "Q", "J")]
        row += [Cell(kept), Cell(text_of(step.get("reason")), kind="text reason")]
        table.rows.append([*row, table.cell(number(step.get("elapsed_s"), 3))])
    return table


PLAN_HEADINGS = (
    ("arm", ""),
    ("group", ""),
    ("kept", "channels"),
    ("sites", ""),
    ("timed", ""),
    ("whole", "ms"),
    ("cut", "ms"),
    ("cut was slower", "rounds"),
    ("chosen", ""),
)


def plan(metrics: Mapping[str, Any]) -> Table:
    """What ``runtime=auto`` measured: one row an arm and kind of site; empty for other engines."""
    table = Table(PLAN_HEADINGS)
    for arm, block in (metrics.get("arms") or {}).items():
        for row in dig(block, "executed", "plan") or ():
            lost, rounds = row.get("slower_rounds"), row.get("rounds")
            table.rows.append(
                [
                    Cell(arm, kind="name"),
                    Cell(text_of(row.get("group")), kind="text"),
                    Cell(f"{number(row.get('kept'))} / {number(row.get('size'))}"),
                    Cell(number(row.get("sites"))),
                    Cell(text_of(row.get("timed", "one layer")), kind="text"),
                    Cell(number(row.get("masked_ms"))),
                    Cell(number(row.get("compact_ms"))),
                    table.cell(DASH if lost is None else f"{lost} of {rounds}"),
                    Cell({"compact": "cut", "masked": "whole"}.get(row.get("chosen"), DASH)),
                ]
            )
    return table


def executed(metrics: Mapping[str, Any]) -> Table:
    """One row an arm, one column a recorded fact of what ran."""
    found = {arm: dict(pairs) for arm, pairs in facts.executed(metrics)}
    keys = list(dict.fromkeys(key for pairs in found.values() for key in pairs))
    table = Table((("arm", ""), *((key, "") for key in keys)))
    for arm, pairs in found.items():
        row = [table.cell(pairs.get(key, DASH), "not recorded for this arm", kind="text") for key in keys]
        table.rows.append([Cell(arm, kind="name"), *row])
    return table
