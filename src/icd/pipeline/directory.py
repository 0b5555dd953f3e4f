"""The name of a run directory: claimed before anything is measured, taken in one step when all is written.

A run is written into a hidden folder beside its directory, ``.NAME.unfinished-run``. Whoever gives that name
to a folder of its own has the run directory: a rename is atomic, and the folder is held while its process
lives (`icd.claims`). What a killed run left under that name is put aside, and blocks nobody.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from icd.claims import left, lock, renamed
from icd.errors import ConfigError, MissingResource
from icd.pipeline.files import SUMS

UNFINISHED = ".{}.unfinished-{}"
LOG = "run.log"
MOST_NAMES = 1000  # runs of one second in one place


@dataclass
class Directory:
    """``name``: the run directory to be; ``folder``: where the run is written until then."""

    name: Path
    folder: Path
    held: int | None

    def publish(self) -> Path:
        """Give what was written its name, and return it: another one where that was taken meanwhile.

        MissingResource where it cannot be given any; everything is then still in ``folder``.
        """
        try:
            out = _published(self.folder, self.name)
        except OSError as error:
            raise MissingResource(
                f"{self.name}: the run cannot be put there ({error.strerror or error}); it is in "
                f"{self.folder}"
            ) from error
        self._let_go()
        return out

    def discard(self) -> None:
        """Remove all of it, and the run directory where it was made empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            self.name.rmdir()
        self._let_go()

    def _let_go(self) -> None:
        if self.held is not None:
            os.close(self.held)
            self.held = None


def claim(run_dir: Path, another_name: bool = False) -> Directory:
    """Take ``run_dir``; with ``another_name`` its name gets a number where it is taken, else ConfigError."""
    folder = run_dir.with_name(UNFINISHED.format(run_dir.name, uuid4().hex[:8]))
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise MissingResource(f"{run_dir}: no directory can be made there ({error.strerror})") from error
    held = lock(folder)
    (folder / LOG).touch()  # a rename onto a folder that is not empty fails
    try:
        for name in _names(run_dir):
            why = _taken(name)
            if why is None and renamed(folder, staging := _staging(name)):
                if (why := _taken(name)) is None:
                    _vacate(name)
                    return Directory(name, staging, held)
                os.rename(staging, folder)  # whoever had the name finished in between
            if not another_name:
                raise ConfigError(
                    why
                    or f"the run directory {name.name} is taken: another run is writing it now (or one "
                    f"was killed where folders cannot be locked; then remove {_staging(name).name})"
                )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        if held is not None:
            os.close(held)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    raise ConfigError(f"{MOST_NAMES} runs have the name {run_dir.name}; give this one a name of its own")


def _names(run_dir: Path) -> Iterator[Path]:
    yield run_dir
    for number in range(2, MOST_NAMES):
        yield run_dir.with_name(f"{run_dir.name}-{number}")


def _staging(name: Path) -> Path:
    return name.with_name(UNFINISHED.format(name.name, "run"))


def _taken(name: Path) -> str | None:
    """Why ``name`` cannot be had; what a killed run left in its place is put aside."""
    if name.exists() and (not name.is_dir() or any(name.iterdir())):
        return f"the run directory {name.name} is not empty; name a new one"
    staging = _staging(name)
    if staging.is_dir() and left(staging):
        _put_aside(staging, name)
    return None


def _put_aside(staging: Path, name: Path) -> None:
    """Rename what a killed run left; a process that was faster has done so, or holds a folder of its own."""
    held = None
    with suppress(OSError):
        held = lock(staging)
    if held is None:
        return
    try:
        with suppress(OSError):
            if os.path.samestat(os.fstat(held), staging.stat()):
                os.rename(staging, name.with_name(UNFINISHED.format(name.name, uuid4().hex[:8])))
    finally:
        os.close(held)


def _vacate(name: Path) -> None:
    """Remove the empty directory in its place, so that a kill leaves none; the present one is left alone."""
    with suppress(OSError):
        if not name.samefile(Path.cwd()):
            name.rmdir()


def _published(folder: Path, name: Path) -> Path:
    try:
        if not (name.exists() and name.samefile(Path.cwd())):  # whose place would become a deleted one
            os.replace(folder, name)
            return name
    except OSError:  # a link or a mounted folder, into which files can be moved; or it is not empty
        if not name.is_dir():
            raise
    if not any(name.iterdir()):
        for entry in sorted(folder.iterdir(), key=lambda path: path.name == SUMS):  # the sums come last
            shutil.move(entry, name / entry.name)
        folder.rmdir()
        return name
    return next(other for other in _names(name) if other != name and renamed(folder, other))
