"""Folders beside the runs: a user's texts, traces and models (``ICD_DATA_DIR``), and the cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from icd.claims import temporary
from icd.errors import ConfigError, MissingResource

VARIABLE = "ICD_DATA_DIR"
log = logging.getLogger(__name__)


def data_dir(made: bool = False) -> Path | None:
    """The folder, None where the variable is not set; ``made``: it is about to be made.

    ConfigError where it names a file, MissingResource where it names nothing.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path = Path(named)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{VARIABLE} names {path.name!r}, which is a file; expected a directory")
    if not made and not path.exists():
        raise MissingResource(f"{VARIABLE} names {path.name!r}, which is not there; make it, or unset it")
    return path


def cache_dir() -> Path:
    """``ICD_CACHE_DIR``, else ``icd`` below the user's cache folder. It may not be there."""
    if named := os.environ.get("ICD_CACHE_DIR"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "icd"


def writable(folder: Path) -> bool:
    """Whether files can be made in ``folder``, which need not be there yet."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


@contextmanager
def compiled_kernels() -> Iterator[None]:
    """Somewhere for what numba compiles, for this process and its children.

    It keeps that beside the sources or below the user's cache folder, and refuses to work where neither can
    be written (icd installed by another user, in a container without a home); there a folder that is
    removed at the end takes its place. ``NUMBA_CACHE_DIR`` is left alone.
    """
    package = Path(__file__).parent
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    beside = [package / part / "__pycache__" for part in ("solver", "measure")]
    if os.environ.get("NUMBA_CACHE_DIR") or writable(users) or all(map(writable, beside)):
        yield
        return
    with temporary("icd-numba-") as folder:
        os.environ["NUMBA_CACHE_DIR"] = str(folder)
        try:
            yield
        finally:
            del os.environ["NUMBA_CACHE_DIR"]


@cache
def not_kept(folder: Path, what: str, why: str) -> None:
    """Warn, once a process, that ``folder`` takes nothing: a cache saves time, and no run needs it."""
    log.warning("%s cannot be kept in %r (%s); ICD_CACHE_DIR names another folder", what, folder.name, why)
