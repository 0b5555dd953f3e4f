"""The files of a run directory: all that a run writes, nothing else, and every one a plain file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icd.pipeline.files import SUMS
from icd.pipeline.rollback import FOLDER
from icd.report.html import RATIO_PLOT
from icd.tools.recheck.recorded import Recorded

ALWAYS = (
    SUMS, "config.lock.json", "config.lock.yaml", "env.json", "metrics.json", "ncu.json", "perm_after.json",
    "perm_before.json", "power.csv", "report.csv", "report.html", "run.log", "samples.csv.gz",
)  # fmt: skip
BEFORE_ROLLBACK = ("ncu.json", "perm_after.json", "power.csv", "samples.csv.gz")


def files(run: Recorded) -> list[str]:
    """Files that are missing or that no run writes; a graph may be missing where graphs are left out."""
    found = {path.relative_to(run.folder).as_posix() for path in entries(run.folder) if not path.is_dir()}
    expected = {*ALWAYS, *rolled_back(run.metrics)}
    graphs = {f"W/{row['site']}.npz" for row in run.metrics["sites"]}
    allowed = expected | graphs | {RATIO_PLOT.as_posix()}
    missing = (expected | graphs if run.graphs else expected) - found
    return [
        *(f"{name}: missing; every run writes it" for name in sorted(missing)),
        *(f"{name}: no run writes a file of this name" for name in sorted(found - allowed)),
        *(f"{path.name}: a folder without a file" for path in empty(run.folder)),
        *(f"{SUMS}: {name} is listed {count} times" for name, count in listed_twice(run.folder)),
    ]


def rolled_back(metrics: Mapping[str, Any]) -> set[str]:
    """The files of a measurement before a rollback."""
    if metrics["rollback"]["first"] is None:
        return set()
    return {f"{FOLDER}/{name}" for name in BEFORE_ROLLBACK}


def irregular(folder: Path) -> list[str]:
    """Links, pipes and devices: what they hold is not in the directory, or never ends."""
    out = []
    for path in entries(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            out.append(f"{name}: a link; what a run directory holds is in it")
        elif not path.is_file() and not path.is_dir():
            out.append(f"{name}: neither a file nor a folder")
    return out


def entries(folder: Path) -> Iterator[Path]:
    """Everything below ``folder``; links are not followed."""
    for where, folders, names in os.walk(folder, followlinks=False):
        yield from (Path(where) / name for name in sorted([*folders, *names]))


def empty(folder: Path) -> list[Path]:
    """Folders that hold nothing; W may, where there is no site."""
    return [p for p in entries(folder) if p.is_dir() and not any(p.iterdir()) and p.name != "W"]


def listed_twice(folder: Path) -> list[tuple[str, int]]:
    """Names that the sums list more than once: two readers may take different ones."""
    lines = (folder / SUMS).read_text("utf-8", errors="replace").splitlines()
    count = Counter(line.partition("  ")[2] for line in lines if line)
    return [(name, n) for name, n in count.items() if n > 1]
