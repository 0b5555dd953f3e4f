"""What of a sweep directory goes into its parent run: the decisions of ``sweep.json``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from icd.errors import ConfigError
from icd.ledger import sweep_id
from icd.reading import read_json
from icd.tracking.projection import sweep_name

FILE = "sweep.json"
LONGEST_TAG = 5000


@dataclass(frozen=True)
class Sweep:
    """A parent run: numbers and tags of each gate's family, and the file they are from.

    ``id`` tells the sweep from others of its ``name``.
    """

    id: str
    name: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    file: Path
    time_ms: int


def project_sweep(folder: Path) -> Sweep:
    """The projection of a sweep; ConfigError where ``folder`` holds no ``sweep.json`` that can be read."""
    file = folder / FILE
    if not file.is_file():
        raise ConfigError(f"{folder.name}: no {FILE} here; the sweep did not end")
    try:
        record = read_json(file)
        metrics: dict[str, float] = {"sweep.cells": float(len(record["cells"]))}
        tags = {}
        for gate, found in record["gates"].items():
            if found["size"]:
                alone = sum(cell["own"] is True for cell in found["cells"].values())
                metrics |= {
                    f"family.{gate}.tests": float(found["size"]),
                    f"family.{gate}.passed_alone": float(alone),
                    f"family.{gate}.passed": float(found["passed"]),
                }
                passed = [name for name, cell in found["cells"].items() if cell["pass"]]
                tags[f"icd.family.{gate}"] = (", ".join(passed) or "none")[:LONGEST_TAG]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder.name}/{FILE} cannot be read: {error}") from error
    return Sweep(sweep_id(folder), sweep_name(folder), metrics, tags, file, int(1000 * file.stat().st_mtime))
