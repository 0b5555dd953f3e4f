"""What of a configuration and of a message may be recorded: no secret, no folder of this machine.

A literal ``${`` is recorded as OmegaConf spells it, ``\\${``, so that a recorded value is never taken for an
interpolation.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from icd.errors import as_text, without_paths
from icd.places import VARIABLE
from icd.reading import sha256

HIDDEN = "***"
TEXTS = "model.prompts"  # as a list: texts, whatever they begin with
FILES = ("path", "sites", "prompts", "calibration_text", "probe_text", "weights")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]*[^\s'\"<>.,:;)]")


def recorded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """``tree`` as a lock holds it, with ``masked``, the keys whose values it does not tell, and ``files``,
    the SHA-256 of every file that a value names by a relative path.
    """
    masked: list[str] = []
    out = _told(dict(tree), "", masked)
    return {**out, "masked": sorted(set(masked)), "files": digests(tree)}


def _told(value: Any, key: str, masked: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {k: _told(v, f"{key}.{k}" if key else str(k), masked) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [escaped(v) if key == TEXTS and isinstance(v, str) else _told(v, key, masked) for v in value]
    if not isinstance(value, str):
        return value
    text = _by_digest(value) if os.path.isabs(value) else without_secrets(value)
    if text != value:
        masked.append(key)
    return escaped(text)


def _by_digest(value: str) -> str:
    """An absolute path as ``name#sha256:digest`` (a folder: of its file names)."""
    path = Path(value)
    if os.path.isfile(path):
        return f"{path.name}#sha256:{sha256(path)}"
    names = " ".join(sorted(p.name for p in path.iterdir())) if os.path.isdir(path) else value
    return f"{path.name}#sha256:{hashlib.sha256(names.encode()).hexdigest()}"


def without_secrets(value: str) -> str:
    """An address without who logs in, what it is asked and where on this machine; other texts as they are."""
    scheme, found, rest = value.partition("://")
    if not found or not ADDRESS.match(value):
        return value
    rest = rest.rpartition("@")[2]
    rest, asked, query = rest.partition("?")
    if asked:
        query = "&".join(f"{part.partition('=')[0]}={HIDDEN}" for part in query.split("&"))
    elif "#" in rest:
        rest, asked, query = rest.partition("#")[0], "#", HIDDEN
    local = "//" if scheme.lower().startswith("sqlite") else "/" if scheme.lower() == "file" else None
    if local is not None and rest.startswith(local):
        rest = f"/{rest.rpartition('/')[2]}"
    return f"{scheme}://{rest}{asked}{query}"


def told(value: Any) -> Any:
    """A message, or the texts of a JSON value, without secrets of addresses and folders of this machine."""
    if isinstance(value, Mapping):
        return {k: told(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [told(v) for v in value]
    return as_text(without_paths(hidden(value))) if isinstance(value, str) else value


def hidden(text: str) -> str:
    """``text`` without the secrets of the addresses in it."""
    return ADDRESS.sub(lambda found: without_secrets(found[0]), text)


def escaped(text: str) -> str:
    """``text`` so that no ``${`` in it begins an interpolation."""
    return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)


def interpolates(text: str) -> bool:
    """Whether OmegaConf would resolve something in ``text``."""
    return any(len(found[1]) % 2 == 0 for found in re.finditer(r"(\\*)\$\{", text))


def spoken(text: str) -> str:
    """What `escaped` made ``text`` from."""
    return re.sub(r"(\\*)\\\$\{", lambda found: found[1][: len(found[1]) // 2] + "${", text)


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; a list and an empty mapping are one value."""
    if not isinstance(tree, Mapping) or not tree:
        yield prefix, tree
        return
    for key, value in tree.items():
        yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))


def digests(tree: Mapping[str, Any]) -> dict[str, str]:
    """SHA-256 by key of the files that ``tree`` names by relative paths, here or below ICD_DATA_DIR."""
    out = {}
    for key, value in leaves({k: v for k, v in tree.items() if k != "tracking"}):
        many = isinstance(value, list) and key != TEXTS
        for name, one in ((f"{key}.{k}", v) for k, v in enumerate(value)) if many else ((key, value),):
            if isinstance(one, str) and (path := named_file(name, one)) is not None:
                out[name] = digest(path)
    return out


def named_file(key: str, value: str) -> Path | None:
    """The file or, for weights, the folder that a relative path names, if there is one."""
    last = key.rpartition(".")[2]
    if last in ("name", "_target_") or os.path.isabs(value) or not value:
        return None
    if last not in FILES and "/" not in value and not Path(value).suffix:
        return None  # a word, whatever lies here under that name
    for path in (Path(value), Path(os.environ.get(VARIABLE) or ".") / value):
        if os.path.isfile(path) or (last == "weights" and os.path.isdir(path)):
            return path
    return None


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder that of its files' names and digests."""
    if path.is_file():
        return sha256(path)
    lines = (f"{sha256(file)}  {file.name}\n" for file in sorted(path.iterdir()) if file.is_file())
    return hashlib.sha256("".join(lines).encode()).hexdigest()
