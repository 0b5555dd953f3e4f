"""A sweep's directory: its ledger, whose first line names the sweep and its cells, and the runs below it.

``ledger.jsonl`` is written before the first cell runs: ``{"schema", "sweep": id, "cells": [folder, ...]}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from icd.errors import ConfigError, MissingResource

LEDGER = "ledger.jsonl"
SCHEMA = "icd.ledger/1"
SIGNS = ("multirun.yaml", "sweep.json", LEDGER)
FINISHED = ("SHA256SUMS", "metrics.json")
STARTED = ("run.log", "error.json", "config.lock.json")  # a run that is not finished holds no other
DEEPEST = 8  # folders between a sweep and a cell


@dataclass(frozen=True)
class Plan:
    """``sweep``: an id that no other sweep has; ``cells``: their folders, relative to the sweep's."""

    sweep: str
    cells: tuple[str, ...]


def write_plan(folder: Path, cells: Sequence[str]) -> Plan:
    """A new sweep in ``folder``, which is made if need be.

    ConfigError where another sweep was faster, MissingResource where nothing can be made there.
    """
    plan = Plan(uuid4().hex, tuple(cells))
    line = json.dumps({"schema": SCHEMA, "sweep": plan.sweep, "cells": list(cells)})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LEDGER).open("x", encoding="utf-8") as file:
            file.write(line + "\n")
    except FileExistsError as error:
        raise ConfigError(f"hydra.sweep.dir={folder}: it holds a sweep; name a new directory") from error
    except OSError as error:
        raise MissingResource(f"hydra.sweep.dir={folder}: it cannot be made ({error.strerror})") from error
    return plan


def read_plan(folder: Path) -> Plan | None:
    """The sweep in ``folder``; None where an earlier version made it, ValueError where it cannot be read."""
    if not (folder / LEDGER).is_file():
        return None
    with (folder / LEDGER).open(encoding="utf-8") as file:
        line = file.readline(1 << 24)
    if not line:
        return None
    try:
        found = json.loads(line)
        cells, sweep = found["cells"], found["sweep"]
        if found["schema"] != SCHEMA or not isinstance(sweep, str) or not isinstance(cells, list):
            raise TypeError(SCHEMA)
        if not all(isinstance(cell, str) for cell in cells):
            raise TypeError("cells")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{LEDGER} is not of schema {SCHEMA} ({type(error).__name__}: {error})") from error
    return Plan(sweep, tuple(cells))


def is_sweep(folder: Path) -> bool:
    """Whether a directory holds a sweep's cells."""
    return any((folder / name).is_file() for name in SIGNS)


def is_finished(folder: Path) -> bool:
    """Whether ``folder`` is a finished run."""
    return all((folder / name).is_file() for name in FINISHED)


def finished_cells(folder: Path) -> list[Path]:
    """The run directories of finished cells, wherever below ``folder`` they are, by name."""
    return [cell for cell in _runs(folder, DEEPEST) if is_finished(cell)]


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    """Run directories below ``folder``; none inside another, and no folder that a run is written into."""
    for below in sorted(folder.iterdir()):
        being_written = below.name.startswith(".") and ".unfinished-" in below.name
        if being_written or below.is_symlink() or not below.is_dir():
            continue
        if is_finished(below) or any((below / name).is_file() for name in STARTED):
            yield below
        elif depth > 0:
            yield from _runs(below, depth - 1)


def cell_name(sweep: Path, cell: Path) -> str:
    """A cell's folder relative to its sweep's, with slashes."""
    return cell.relative_to(sweep).as_posix()


def sweep_of(run: Path) -> Path | None:
    """The directory of the sweep that a run is a cell of: it directly holds the run, or has planned it."""
    run = run.resolve()
    for folder in run.parents[: DEEPEST + 1]:
        if not is_sweep(folder):
            continue
        try:
            plan = read_plan(folder)
        except ValueError:
            plan = None
        if folder == run.parent or (plan is not None and cell_name(folder, run) in plan.cells):
            return folder
    return None


def sweep_id(folder: Path) -> str:
    """What tells a sweep from every other of its name; of one without a plan: its first cell's run id."""
    try:
        plan = read_plan(folder)
    except ValueError:
        plan = None
    if plan is not None:
        return plan.sweep
    ids = []
    for cell in finished_cells(folder):
        try:
            ids.append(str(json.loads((cell / "metrics.json").read_text("utf-8"))["run_id"]))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # whoever needs that cell's record says what is wrong with it
    return min(ids, default=folder.resolve().name)
