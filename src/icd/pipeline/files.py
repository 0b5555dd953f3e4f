"""Writing run files: to a temporary name, then renamed, so that a reader never sees half a file."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

SUMS = "SHA256SUMS"


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` through a temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(data)
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON; a NaN or infinity is refused, for a missing value is null."""
    write_bytes(path, (json.dumps(jsonable(value), indent=1, allow_nan=False) + "\n").encode())


def jsonable(value: Any) -> Any:
    """Builtins for numpy scalars, arrays and tuples; ValueError for a float that is not finite."""
    if isinstance(value, dict):
        return {str(k): jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    if isinstance(value, np.generic):
        return jsonable(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} cannot stand in the record; a missing value is null with a reason")
    return value


def write_sums(folder: Path) -> None:
    """``SHA256SUMS`` over every other file below ``folder``, in the format of sha256sum."""
    lines = [f"{sha256(file)}  {file.relative_to(folder).as_posix()}" for file in files_of(folder)]
    write_bytes(folder / SUMS, ("\n".join(lines) + "\n").encode())


def check_sums(folder: Path, may_lack: str | None = None) -> list[str]:
    """What differs between ``SHA256SUMS`` and the folder, a sentence each; empty when all is well.

    Files in the folder ``may_lack`` may be missing; those that are there have to agree.
    """
    path = folder / SUMS
    if not path.is_file():
        return [f"{SUMS} is missing: the run did not finish"]
    lines = [line for line in path.read_text(errors="replace").splitlines() if line]
    broken = [line for line in lines if "  " not in line]
    if broken:
        return [f"{SUMS}: expected a sum, two spaces and a name on a line, got {broken[0][:80]!r}"]
    listed = dict(line.split("  ", 1)[::-1] for line in lines)
    found = {file.relative_to(folder).as_posix(): file for file in files_of(folder)}
    missing = sorted(set(listed) - set(found))
    if may_lack is not None:
        missing = [name for name in missing if not name.startswith(f"{may_lack}/")]
    out = [f"{name} is listed in {SUMS} and missing" for name in missing]
    out += [f"{name} is not listed in {SUMS}" for name in sorted(set(found) - set(listed))]
    out += [
        f"{n} was changed after the run"
        for n in sorted(set(found) & set(listed))
        if sha256(found[n]) != listed[n]
    ]
    return out


def files_of(folder: Path) -> list[Path]:
    """Every file below ``folder`` but the sums, sorted by path."""
    return sorted(f for f in folder.rglob("*") if f.is_file() and f.name != SUMS)


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
