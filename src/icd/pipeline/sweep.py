"""What a sweep decides beyond its cells: gates corrected for their number, in ``sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icd.ledger import cell_name, finished_cells, is_finished, read_plan
from icd.pipeline.files import write_json
from icd.reading import read_json
from icd.stats.family import family
from icd.stats.gates import ONE_SIDED

FILE = "sweep.json"
SCHEMA = "icd.sweep/1"


def judge(folder: Path) -> dict[str, Any]:
    """``sweep.json`` from the cells' records: ``{schema, method, alpha, cells, gates}``, and of a sweep with
    a plan its id ``sweep`` and ``missing``, why cells that it names are not among ``cells``.

    ``cells[name]``: the run id, by folder; ``gates``: see `icd.stats.family.family`. Cells that did not
    finish are not there: a sweep that is resumed is judged again.
    """
    records = {
        (name := cell_name(folder, cell)): read_json(cell / "metrics.json", f"{name}/metrics.json")
        for cell in finished_cells(folder)
    }
    plan = read_plan(folder)
    of_plan = {} if plan is None else {"sweep": plan.sweep, "missing": missing(folder)}
    return {
        "schema": SCHEMA,
        "method": "Holm over all required measured checks of a gate, one-sided",
        "alpha": ONE_SIDED,
        "cells": {name: record["run_id"] for name, record in records.items()},
        "gates": family({name: record["gates"] for name, record in records.items()}),
        **of_plan,
    }


def missing(folder: Path) -> dict[str, str]:
    """Why cells that a sweep's ledger names are no results, by their folders."""
    plan = read_plan(folder)
    found = {cell_name(folder, cell) for cell in finished_cells(folder)}
    return {n: why_missing(folder / n) for n in (plan.cells if plan else ()) if n not in found}


def why_missing(cell: Path) -> str:
    """Why a cell that was planned is no result."""
    if is_finished(cell):
        return "it is reached through a link"
    if not cell.is_dir():
        return "it never ran, or its folder was taken away"
    try:
        found = read_json(cell / "error.json")
        return f"it ended with exit code {int(found['code'])}"
    except (OSError, ValueError, LookupError, TypeError):
        return "it did not finish"


def faults(folder: Path) -> list[str]:
    """What keeps a sweep from being whole, a sentence each, beside what its cells' own records say."""
    try:
        plan = read_plan(folder)
    except ValueError as error:
        return [str(error)]
    found = {cell_name(folder, cell) for cell in finished_cells(folder)}
    if not found:
        return ["no cell of this sweep has finished, so nothing can be verified"]
    strange = sorted(found - set(plan.cells)) if plan is not None else []
    return [f"{name}: a run that is no cell of this sweep's ledger" for name in strange]


def write_sweep(folder: Path) -> dict[str, Any]:
    """Write ``sweep.json`` into the sweep directory and return it."""
    record = judge(folder)
    write_json(folder / FILE, record)
    return record


def sentences(record: Mapping[str, Any]) -> list[str]:
    """A line for every gate of which something was tested."""
    out = []
    for gate, found in record["gates"].items():
        if not found["size"]:
            continue
        alone = sum(cell["own"] is True for cell in found["cells"].values())
        names = [name for name, cell in found["cells"].items() if cell["pass"]]
        said = (
            f"gate {gate}: {alone} of {len(found['cells'])} cells pass alone, {found['passed']} with Holm's "
        )
        said += f"correction over {found['size']} tests"
        out.append(said + (f": {', '.join(names)}" if names else ""))
    return out
