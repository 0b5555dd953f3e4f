"""What the cells of a sweep are called: a number, then a few safe characters of what is swept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from icd.errors import ConfigError
from icd.ledger import DEEPEST, SIGNS

LONGEST = 80  # bytes of a name; file systems take 255, and a run is written beside under a longer one
LONGEST_PATH = 1024  # bytes from the sweep's folder to a cell's
UNSAFE = re.compile(r"[^A-Za-z0-9.=+-]+")
PLAIN = re.compile(r"[A-Za-z_][\w./@-]*", re.ASCII)  # keys that need no quotes where OmegaConf reads them
UNTOLD = ("tracking", "hydra", "icd_record")  # addresses, and words that are not the user's


def cell_folder(number: int, overrides: Iterable[str], swept: str | None = None) -> str:
    """``3-sparsity=0.5_precision=fp8`` for cell 3: unique by its number, of plain characters, bounded.

    ``overrides``: those of the cell; ``swept``: keys that differ between cells, with bars between
    them; all count if there are none. Of a value that may be a path the last part is told.
    """
    told, keys = [], set(swept.split("|") if swept else ())
    for word in overrides:
        key, _, value = word.partition("=")
        key = key.lstrip("+~")
        if (keys and key not in keys) or key.partition(".")[0].partition("/")[0] in UNTOLD:
            continue
        told.append(UNSAFE.sub("_", f"{key}={value.rpartition('/')[2]}").strip("_"))
    slug = "_".join(told)[: LONGEST - len(f"{number}-")].strip("._-=+")
    return f"{number}-{slug}" if slug else str(number)


def swept_keys(cells: Sequence[Sequence[str]]) -> list[str]:
    """Keys whose values differ between cells, in the order of the command line."""
    values: dict[str, set[str]] = {}
    for cell in cells:
        for word in cell:
            key, _, value = word.partition("=")
            values.setdefault(key.lstrip("+~"), set()).add(value)
    return [key for key, found in values.items() if len(found) > 1 and PLAIN.fullmatch(key)]


def check_folders(names: Sequence[str]) -> None:
    """ConfigError unless every name is a folder of its own inside the sweep's, none inside another."""
    seen: dict[PurePosixPath, str] = {}
    for name in names:
        path = PurePosixPath(name)
        parts = path.parts
        if not parts or path.is_absolute() or ".." in parts or "\0" in name:
            raise ConfigError(
                f"hydra.sweep.subdir={name!r:.200}: expected a folder inside the sweep's; name cells by "
                "${hydra.job.num}"
            )
        if max(len(part.encode("utf-8", "replace")) for part in parts) > 200 or len(name) > LONGEST_PATH:
            raise ConfigError(
                f"hydra.sweep.subdir={name[:60]!r}...: longer than a file system takes; shorten it"
            )
        if any(part.startswith(".") and ".unfinished-" in part for part in parts) or parts[0] in SIGNS:
            raise ConfigError(f"hydra.sweep.subdir={name!r}: icd has another use for that name")
        if len(parts) > DEEPEST:
            raise ConfigError(
                f"hydra.sweep.subdir={name!r}: {len(parts)} folders deep; cells are looked for in {DEEPEST}"
            )
        if path in seen:
            raise ConfigError(
                f"hydra.sweep.subdir={name!r}: two cells would share it; name cells by ${{hydra.job.num}}"
            )
        seen[path] = name
    for path in seen:
        inside = next((above for above in path.parents if above in seen), None)
        if inside is not None:
            raise ConfigError(f"hydra.sweep.subdir={path}: it lies inside another cell's folder, {inside}")
