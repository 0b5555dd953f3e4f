"""The cells of a sweep: each finished or failed, each counted once, none a link."""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from icd.ledger import finished_cells, read_plan
from icd.pipeline.files import SUMS, sha256
from icd.tools.recheck.recorded import read_json

UNFINISHED = ".unfinished-"


def cells(folder: Path) -> list[str]:
    """What is wrong with the cells of the sweep in ``folder`` as a set, a sentence each."""
    found = finished_cells(folder)
    out = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.is_symlink():
            out.append(f"{place.name}: a link; the cells of a sweep are in it")
        elif place.name.startswith(".") and place in found and place.name not in planned(folder):
            out.append(f"{place.name}: a hidden cell; those of a sweep are seen")
        elif UNFINISHED in place.name:
            out.append(f"{place.name}: a cell that is unfinished; it counts as no result")
        elif (place / "metrics.json").is_file() and place not in found:
            out.append(f"{place.name}: it holds a record without {SUMS} and is not counted")
        elif (place / "config.lock.json").is_file() and not finished_or_failed(place, found):
            out.append(f"{place.name}: a cell that neither finished nor says why it failed")
    return out + list(twice(found))


def planned(folder: Path) -> tuple[str, ...]:
    """The first folders of the cells that the sweep's ledger names."""
    try:
        plan = read_plan(folder)
    except ValueError:  # which `icd.pipeline.sweep.faults` tells
        plan = None
    return tuple(cell.partition("/")[0] for cell in plan.cells) if plan else ()


def finished_or_failed(place: Path, found: list[Path]) -> bool:
    """Whether a cell came to an end that its directory tells of."""
    return place in found or (place / "error.json").is_file()


def twice(found: list[Path]) -> Iterator[str]:
    """Cells that are one measurement under two names."""
    places: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in found:
        for mark in marks(cell):
            places[mark].append(cell.name)
    for (what, _), names in places.items():
        if len(names) > 1:
            yield f"{' and '.join(names)}: one measurement counted {len(names)} times (the same {what})"


def marks(cell: Path) -> Iterator[tuple[str, str]]:
    """What no two runs have in common: the id, the time to the last digit, raw samples that were measured."""
    try:
        record = read_json(cell / "metrics.json")
        yield "metrics.json: run_id", str(record["run_id"])
        yield "metrics.json: elapsed_s", repr(record["elapsed_s"])
        with gzip.open(cell / "samples.csv.gz", "rt", encoding="utf-8") as lines:
            measured = any(",measured," in line for line in lines)
        if measured:
            yield "samples.csv.gz", sha256(cell / "samples.csv.gz")
    except (OSError, EOFError, ValueError, LookupError, TypeError, zlib.error):
        return  # which the cell's own checks name
