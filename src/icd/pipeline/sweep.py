"""What a sweep decides beyond its cells: gates corrected for their number, in ``sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icd.pipeline.files import SUMS, write_json
from icd.reading import read_json
from icd.stats.family import family
from icd.stats.gates import ONE_SIDED

FILE = "sweep.json"
SCHEMA = "icd.sweep/1"


def finished_cells(folder: Path) -> list[Path]:
    """The run directories of finished cells, by name; a hidden one is still being written, or never was."""
    return sorted(
        f
        for f in folder.iterdir()
        if not f.name.startswith(".") and (f / SUMS).is_file() and (f / "metrics.json").is_file()
    )


def judge(folder: Path) -> dict[str, Any]:
    """``sweep.json`` from the cells' records: ``{schema, method, alpha, cells, gates}``.

    ``cells[name]``: the run id; ``gates``: see `icd.stats.family.family`. Cells that did not finish are not
    there: a sweep that is resumed is judged again.
    """
    records = {
        cell.name: read_json(cell / "metrics.json", f"{cell.name}/metrics.json")
        for cell in finished_cells(folder)
    }
    return {
        "schema": SCHEMA,
        "method": "Holm over all required measured checks of a gate, one-sided",
        "alpha": ONE_SIDED,
        "cells": {name: record["run_id"] for name, record in records.items()},
        "gates": family({name: record["gates"] for name, record in records.items()}),
    }


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
