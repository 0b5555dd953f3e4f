"""The rollback by measurement in plain sentences: what was worse, what came of it, and why it was so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.report.folder import dig
from icd.report.numbers import interval, is_number, number, signed
from icd.report.phrases import l2_name
from icd.report.table import Cell, Table, text_of

ANSWERS = {True: "supported", False: "not supported", None: "not known"}
AGAIN = (("measured again", ""), ("95 % interval", ""))
HEADINGS = (
    ("figure", ""),
    ("new layout", ""),
    ("95 % interval", ""),
    ("floor", "±"),
    ("worse", ""),
    *AGAIN,
)


def names(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The figures that a rollback looks at, in words."""
    return {"latency": "latency", "l2": l2_name(metrics), "ept": "energy per token"}


def triggered(metrics: Mapping[str, Any]) -> bool:
    """Whether the reported iterative arm is the layout before the re-permutation."""
    return bool(dig(metrics, "rollback", "triggered"))


def sentences(metrics: Mapping[str, Any]) -> list[str]:
    """What the measurement decided about the re-permutation; empty for a run without the question."""
    found = metrics.get("rollback") or {}
    if not found.get("figures"):
        return []
    if not found["triggered"]:
        return [f"The re-permutation was not rolled back by measurement: {found['reason']}."]
    worse = " and ".join(names(metrics)[name] for name in found["metrics"])
    supported = [c["cause"] for c in found["root_cause"] if c["supported"]]
    unknown = [c["cause"] for c in found["root_cause"] if c["supported"] is None]
    out = [
        f"The re-permuted layout measured worse than linear's in {worse}, so it was rolled back: every arm "
        "was measured again in fresh processes, with linear's layout in iterative.",
        "All figures of this report are those of the second measurement; the first is kept in "
        "before_rollback/ and in the table below.",
        f"Causes that the record supports: {', '.join(supported)}."
        if supported
        else "None of the causes examined is supported by the record"
        + ("." if unknown else ", which leaves the layout itself."),
    ]
    return [*out, f"Not known for want of figures: {', '.join(unknown)}."] if unknown else out


def figures(metrics: Mapping[str, Any]) -> Table:
    """One row a figure: iterative against linear, and after a rollback measured again."""
    again_too = triggered(metrics)
    table = Table(HEADINGS if again_too else HEADINGS[: -len(AGAIN)])
    found = metrics.get("rollback") or {}
    for name, first in (found.get("figures") or {}).items():
        again = dig(found, "remeasured", name) or {}
        value, unit = again.get("delta_pct", again.get("delta")), first["unit"]
        why, again_why = first.get("reason"), again.get("reason")
        row = [Cell(names(metrics)[name], kind="name"), table.cell(_with(first["value"], unit), why)]
        row += [table.cell(interval(first["ci95"]), why), table.cell(number(first["floor"], 3), why)]
        row += [Cell({True: "yes", False: "no", None: "not known"}[first["worse"]])]
        if again_too:
            row += [table.cell(_with(value, unit), again_why)]
            row += [table.cell(interval(again.get("ci95")), again_why)]
        table.rows.append(row)
    return table


def causes(metrics: Mapping[str, Any]) -> Table:
    """One row a cause that was examined, with the answer and what it rests on."""
    table = Table((("cause", ""), ("answer", ""), ("evidence", "")))
    for cause in dig(metrics, "rollback", "root_cause") or ():
        answer = ANSWERS[cause["supported"]]
        table.rows.append(
            [
                Cell(cause["cause"], kind="name"),
                Cell(answer),
                Cell(text_of(cause["evidence"]), kind="text reason"),
            ]
        )
    return table


def _with(value: Any, unit: str) -> str:
    return f"{signed(value, 2)} {unit}" if is_number(value) else signed(value)
