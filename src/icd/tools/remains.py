"""What killed runs left on this machine: unfinished run directories here, and temporary folders.

Nothing that a running process holds is among it (`icd.claims`). This file imports the standard library alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from icd.claims import MARK, remains, remove

UNFINISHED = ".*.unfinished-*"
TEMPORARY = "icd-*"


def found(here: Path) -> list[Path]:
    """Their folders, in ``here`` and where runs and sweeps are written below it."""
    unfinished = [path for place in places(here) for path in remains(place, UNFINISHED) if not _runs(path)]
    return [*unfinished, *remains(Path(tempfile.gettempdir()), TEMPORARY, MARK)]


def clean(here: Path) -> list[str]:
    """Remove them; a line for each."""
    return [f"{'removed' if remove(path) else 'kept, it is in use'}: {path}" for path in found(here)]


def places(here: Path) -> Iterator[Path]:
    """``here``, two levels below it, and of its ``runs`` one more; no hidden folder and no link."""
    yield here
    for first in _below(here):
        yield first
        for second in _below(first):
            yield second
            if first.name == "runs":
                yield from _below(second)


def _below(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            folders = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(folders) if not name.startswith(".")]


def _runs(folder: Path) -> bool:
    """Whether its name ends with the id of a process that runs, as icd 0.1 named folders without a lock."""
    last = folder.name.rpartition("-")[2]
    if not last.isdigit():
        return False
    try:
        os.kill(int(last), 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
