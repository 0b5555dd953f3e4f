"""``icd verify [--without-graphs] RUN|SWEEP...``: every statistic of a run again from its raw samples.

Checksums alone prove nothing, since whoever changes a file can make the sums fit; so statistics, verdicts,
gates, costs, tags and the report are made again from samples, graphs, layouts and the lock
(`icd.tools.recheck`). docs/SOP.md lists what no other file tells, and is believed.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from icd.errors import ConfigError, Exit, IcdError, MissingResource
from icd.ledger import cell_name, finished_cells
from icd.pipeline.files import SUMS, check_sums
from icd.pipeline.sweep import FILE, faults, judge
from icd.reading import read_json
from icd.stats.derive import equal
from icd.tools.recheck.asked import asked
from icd.tools.recheck.choices import checked, chosen, configured, gated, tagged
from icd.tools.recheck.figures import rollback, statistics, stops
from icd.tools.recheck.folder import files, irregular
from icd.tools.recheck.graphs import graphs
from icd.tools.recheck.layouts import costs, iterations, sites
from icd.tools.recheck.logged import logged
from icd.tools.recheck.page import page
from icd.tools.recheck.plausible import device
from icd.tools.recheck.raw import raw
from icd.tools.recheck.reasons import reasons
from icd.tools.recheck.recorded import Recorded, load
from icd.tools.recheck.recovered import precision, recovered
from icd.tools.recheck.scores import scores
from icd.tools.recheck.sweeps import cells
from icd.tools.recheck.tiles import tiles
from icd.tracking.projection import is_sweep

SHOWN = 20  # differences of a run that are printed
WITHOUT = "--without-graphs"  # for an archive that leaves out W, the largest part of a run
TAKEN = " without its graphs (C, Q and J taken as recorded)"

Check = Callable[[Recorded], list[str]]
# what compiled code reads later: nothing of it is computed where one of these does not hold
FIRST: tuple[Check, ...] = (sites, graphs)
OF_GRAPHS: tuple[Check, ...] = (statistics, costs, iterations, rollback, scores, tiles)
CHECKS: tuple[Check, ...] = (
    files, *FIRST, raw, statistics, stops, reasons, costs, iterations, scores, tiles, rollback, configured,
    chosen, asked, device, checked, gated, tagged, logged, recovered, precision,
)  # fmt: skip
FILE_FIRST = re.compile(
    r"[^\s:]+\.(json|csv|gz|html|yaml|log|png|npz|npy)\b|SHA256SUMS|[^\s:]+: no run writes"
)
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
        sweep = is_sweep(folder) and not (folder / SUMS).exists()  # a run stays one, whatever was put into it
        notes: list[str] = []
        problems = (verify_sweep if sweep else verify)(folder, graphs=graphs, notes=notes)
        if problems:
            code = Exit.VERIFICATION_FAILED
            print(f"{word}: {len(problems)} difference(s)")
            for problem in problems[:SHOWN]:
                print(f"  {problem}")
        else:
            print(f"{word}: verified{'' if graphs else TAKEN}; every statistic follows from its raw samples")
            for note in notes:
                print(f"  {note}")
    return int(code)


def verify(folder: Path, *, graphs: bool = True, notes: list[str] | None = None) -> list[str]:
    """What does not hold in a run directory, a sentence each; ``graphs``: whether ``W`` is part of it.

    What was not compared in full is added to ``notes``. The report of a record that does not hold is not
    looked at.
    """
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    if links := irregular(folder):
        return links  # nothing is read through them
    problems = check_sums(folder, None if graphs else "W")
    try:
        run = load(folder, graphs=graphs)
    except (OSError, ValueError) as error:
        why = unread(error) if isinstance(error, OSError) else str(error)
        return [*problems, f"the record cannot be read: {why}"]
    unsafe = [problem for check in FIRST for problem in ask(check, run)]
    checks = [check for check in CHECKS if check not in FIRST and not (unsafe and check in OF_GRAPHS)]
    problems = [*problems, *unsafe, *(problem for check in checks for problem in ask(check, run))]
    told: list[str] = [] if notes is None else notes
    return problems or ask(partial(page, notes=told), run)


def ask(check: Check, run: Recorded) -> list[str]:
    """What ``check`` finds, each with the file that it is of; a record that it cannot even read does not hold
    either.
    """
    try:
        return [of_file(problem) for problem in check(run)]
    except OSError as error:
        return [f"{named(check)}: cannot be computed again: {unread(error)}"]
    except (*UNREADABLE, zipfile.BadZipFile) as error:
        told = f"{type(error).__name__}: {error}"
        return [f"{named(check)}: the record is not of schema icd.metrics/1 ({told})"]


def named(check: Check) -> str:
    """What a check is called."""
    return str(getattr(check, "__name__", "page"))


def of_file(problem: str) -> str:
    """``problem`` with the file that it is of in front: what names none is of ``metrics.json``."""
    return problem if FILE_FIRST.match(problem) else f"metrics.json: {problem}"


def unread(error: OSError) -> str:
    """Why a file could not be read, and which, without its folder."""
    which = f" ({Path(error.filename).name})" if error.filename else ""
    return f"{error.strerror or error}{which}"


def verify_sweep(folder: Path, *, graphs: bool = True, notes: list[str] | None = None) -> list[str]:
    """What does not hold in a sweep's finished cells and in its ``sweep.json``."""
    problems = cells(folder)
    for cell in finished_cells(folder):
        name, told = cell_name(folder, cell), list[str]()
        problems += [f"{name}: {problem}" for problem in verify(cell, graphs=graphs, notes=told)]
        if notes is not None:
            notes += [f"{name}: {note}" for note in told]
    problems += faults(folder)
    recorded = folder / FILE
    if not recorded.is_file():
        return [*problems, f"{FILE} is missing: the sweep did not end"]
    try:
        return problems + equal(read_json(recorded), judge(folder), path=FILE)
    except (KeyError, TypeError, ValueError) as error:
        return [*problems, f"the sweep cannot be judged again: {type(error).__name__} {error}"]
