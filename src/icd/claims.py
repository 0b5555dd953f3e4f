"""Folders of a running process: locked while it lives, so that what a kill left behind can be told from them.

The lock is advisory (flock) and ends with the process, however it ends; a process id says nothing, for in
containers every process is number 1. Where a file system knows no such lock, no folder counts as left.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no advisory locks of this kind
    fcntl = None  # type: ignore[assignment]

MARK = ".icd-process"  # in a temporary folder: it was made by this package


def lock(folder: Path) -> int | None:
    """A descriptor that holds ``folder`` until it is closed; None where another process does, or none can.

    OSError where the folder is not there.
    """
    held = os.open(folder, os.O_RDONLY)
    with suppress(OSError):
        if fcntl is not None:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return held
    os.close(held)
    return None


def left(folder: Path) -> bool:
    """Whether no process holds ``folder`` any more; False where that cannot be known."""
    try:
        held = lock(folder)
    except OSError:
        return False
    if held is None:
        return False
    os.close(held)
    return True


@contextmanager
def temporary(prefix: str) -> Iterator[Path]:
    """A private temporary folder, marked and held, removed at the end of the block."""
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        held = lock(folder)
        (folder / MARK).touch()
        try:
            yield folder
        finally:
            if held is not None:
                os.close(held)


def remains(parent: Path, pattern: str, mark: str | None = None) -> list[Path]:
    """This user's folders in ``parent``, like ``pattern`` and with ``mark`` in them, that a kill left."""
    found = []
    with suppress(OSError):
        for path in sorted(parent.glob(pattern)):
            with suppress(OSError):
                mine = path.lstat().st_uid == os.getuid()
                whole = not path.is_symlink() and path.is_dir()
                if mine and whole and (mark is None or (path / mark).is_file()) and left(path):
                    found.append(path)
    return found


def remove(folder: Path) -> bool:
    """Remove what a killed process left, unless somebody took hold of it meanwhile; whether it is gone."""
    try:
        held = lock(folder)
    except FileNotFoundError:
        return True
    if held is None:
        return False
    try:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(held)
    return not folder.exists()


def renamed(folder: Path, name: Path) -> bool:
    """Give a folder that is not empty another name, in one step; False where one that is not empty has it."""
    try:
        os.rename(folder, name)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            return False
        raise
    return True
