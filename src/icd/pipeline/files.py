"""Writing run files: to a temporary name, then renamed, so that a reader never sees half a file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from icd.errors import as_text
from icd.newfile import replace_file
from icd.reading import JSON_BYTES, read_bytes
from icd.reading import sha256 as sha256  # of run files, for whoever writes them

SUMS = "SHA256SUMS"


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, data)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON; a NaN or infinity is refused, for a missing value is null."""
    write_bytes(path, (json.dumps(jsonable(value), indent=1, allow_nan=False) + "\n").encode())


def jsonable(value: Any) -> Any:
    """Builtins for numpy scalars, arrays and tuples; ValueError for a float that is not finite.

    A character that is no text, of a file's name that is not UTF-8, is escaped.
    """
    if isinstance(value, dict):
        return {as_text(str(k)): jsonable(v) for k, v in value.items()}
    if isinstance(value, str):
        return as_text(value)
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot stand in the record; a missing value is null with a reason")
    return value


def write_sums(folder: Path, may_lack: str | None = None) -> None:
    """``SHA256SUMS`` over every other file below ``folder``, in the format of sha256sum.

    Of files in the folder ``may_lack`` that are not there, the sums of before are kept.
    """
    sums = {file.relative_to(folder).as_posix(): sha256(file) for file in files_of(folder)}
    if may_lack is not None:
        kept = listed(folder)
        sums |= {name: kept[name] for name in kept if name.startswith(f"{may_lack}/") and name not in sums}
    lines = [f"{sums[name]}  {name}" for name in sorted(sums)]
    write_bytes(folder / SUMS, ("\n".join(lines) + "\n").encode())


def listed(folder: Path) -> dict[str, str]:
    """What ``SHA256SUMS`` says: name -> sum; ValueError for a line that is not of its format."""
    out = {}
    for line in read_bytes(folder / SUMS, JSON_BYTES).decode(errors="replace").splitlines():
        if line and "  " not in line:
            raise ValueError(f"{SUMS}: expected a sum, two spaces and a name on a line, got {line[:80]!r}")
        if line:
            value, name = line.split("  ", 1)
            out[name] = value
    return out


def check_sums(folder: Path, may_lack: str | None = None) -> list[str]:
    """What differs between ``SHA256SUMS`` and the folder, a sentence each; empty when all is well.

    Files in the folder ``may_lack`` may be missing; those that are there have to agree.
    """
    if not (folder / SUMS).is_file():
        return [f"{SUMS} is missing: the run did not finish"]
    try:
        sums = listed(folder)
    except ValueError as error:
        return [str(error)]
    if linked := links(folder):
        return [f"{name} is a link; a record holds files of its own" for name in linked]
    found = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
    missing = sorted(set(sums) - set(found))
    if may_lack is not None:
        missing = [name for name in missing if not name.startswith(f"{may_lack}/")]
    out = [f"{name} is listed in {SUMS} and missing" for name in missing]
    out += [f"{name} is not listed in {SUMS}" for name in sorted(set(found) - set(sums))]
    out += [
        f"{n} was changed after the run"
        for n in sorted(set(found) & set(sums))
        if sha256(found[n]) != sums[n]
    ]
    return out


def files_of(folder: Path) -> list[Path]:
    """Every file below ``folder`` but the sums, sorted by path."""
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.name != SUMS)


def links(folder: Path) -> list[str]:
    """Links below ``folder``, which are not followed, and what else is neither a file nor a folder."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not (path.is_file() or path.is_dir())
    )
