"""A file that takes its name in one step and is written through no link."""

from __future__ import annotations

import os
from pathlib import Path

from icd.errors import ConfigError


def replace_file(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, then rename: a reader never sees half a file.

    The temporary file is made anew, so that a link of its name is replaced and not followed; a link of the
    name itself is replaced as well.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(temporary, flags, 0o666), "wb") as out:
        out.write(data)
    temporary.replace(path)


def folder_below(folder: Path, name: str) -> Path:
    """The folder ``name`` inside ``folder``, made if need be; ConfigError where it is a link or a file."""
    path = folder / name
    if not path.is_symlink() and not path.exists():
        path.mkdir()
    if path.is_symlink() or not path.is_dir():
        raise ConfigError(f"{folder.name}/{name}: expected a folder, got a link or a file")
    return path
