"""``icd verify [--without-graphs] RUN|SWEEP...``: every statistic of a run again from its raw samples.

Checksums alone prove nothing, since whoever changes a file can make the sums fit; so statistics, verdicts,
gates, costs and tags are computed again from samples, graphs, layouts and the lock (`icd.tools.recheck`).
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

from icd.errors import ConfigError, Exit, IcdError, MissingResource
from icd.ledger import cell_name, finished_cells
from icd.pipeline.files import check_sums
from icd.pipeline.sweep import FILE, faults, judge, missing
from icd.stats.derive import equal
from icd.tools.recheck.asked import asked
from icd.tools.recheck.choices import checked, configured, gated, tagged
from icd.tools.recheck.figures import rollback, statistics, stops
from icd.tools.recheck.layouts import costs, iterations
from icd.tools.recheck.logged import logged
from icd.tools.recheck.plausible import device
from icd.tools.recheck.raw import raw
from icd.tools.recheck.recorded import Recorded, load
from icd.tracking.projection import is_sweep

WITHOUT = "--without-graphs"  # for an archive that leaves out W, the largest part of a run
TAKEN = " without its graphs (C, Q and J taken as recorded)"

Check = Callable[[Recorded], list[str]]
CHECKS: tuple[Check, ...] = (
    raw, statistics, stops, costs, iterations, rollback, configured, asked, device, checked, gated, tagged,
    logged,
)  # fmt: skip
# what a record that was changed by hand can raise
UNREADABLE = (IcdError, OSError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


def main(words: Sequence[str]) -> int:
    """Verify each run directory named; 6 when one differs, 3 when one is not there."""
    graphs = WITHOUT not in words
    words = [word for word in words if word != WITHOUT]
    if not words or any(word.startswith("-") for word in words):
        raise ConfigError(f"usage: icd verify [{WITHOUT}] RUN|SWEEP...; expected one or more run directories")
    code = Exit.DONE
    for word in words:
        folder = Path(word)
        problems = (verify_sweep if is_sweep(folder) else verify)(folder, graphs=graphs)
        if problems:
            code = Exit.VERIFICATION_FAILED
            print(f"{word}: {len(problems)} difference(s)")
            for problem in problems[:20]:
                print(f"  {problem}")
        else:
            print(f"{word}: verified{'' if graphs else TAKEN}; every statistic follows from its raw samples")
        for line in lost(folder):
            print(f"  {line}")
    return int(code)


def lost(folder: Path) -> list[str]:
    """Cells that a sweep's ledger names and that are no results, a sentence each."""
    try:
        return [f"cell {name} is missing: {why}" for name, why in missing(folder).items()]
    except ValueError:
        return []  # `faults` has said that the ledger cannot be read


def verify(folder: Path, *, graphs: bool = True) -> list[str]:
    """What does not hold in a run directory, a sentence each; ``graphs``: whether ``W`` is part of it."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    problems = check_sums(folder, None if graphs else "W")
    try:
        run = load(folder, graphs=graphs)
    except (OSError, ValueError) as error:
        told = unread(error) if isinstance(error, OSError) else str(error)
        return [*problems, f"the record cannot be read: {told}"]
    return problems + [problem for check in CHECKS for problem in ask(check, run)]


def ask(check: Check, run: Recorded) -> list[str]:
    """What ``check`` finds; a record that it cannot even read does not hold either."""
    try:
        return check(run)
    except OSError as error:
        return [f"{check.__name__}: cannot be computed again: {unread(error)}"]
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        told = f"{type(error).__name__}: {error}"
        return [f"{check.__name__}: the record is not of schema icd.metrics/1 ({told})"]


def unread(error: OSError) -> str:
    """Why a file could not be read, and which, without its folder."""
    which = f" ({Path(error.filename).name})" if error.filename else ""
    return f"{error.strerror or error}{which}"


def verify_sweep(folder: Path, *, graphs: bool = True) -> list[str]:
    """What does not hold in a sweep's finished cells and in its ``sweep.json``."""
    problems = [
        f"{cell_name(folder, cell)}: {problem}"
        for cell in finished_cells(folder)
        for problem in verify(cell, graphs=graphs)
    ]
    problems += faults(folder)
    recorded = folder / FILE
    if not recorded.is_file():
        return [*problems, f"{FILE} is missing: the sweep did not end"]
    try:
        return problems + equal(json.loads(recorded.read_text("utf-8")), judge(folder), path=FILE)
    except (KeyError, TypeError, ValueError) as error:
        return [*problems, f"the sweep cannot be judged again: {type(error).__name__} {error}"]
