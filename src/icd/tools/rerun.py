"""``icd rerun RUN [overrides]``: run again what a run's lock says, with overrides on top.

A record may be anybody's, so it is read as data: known groups with a choice each, known keys with literal
values. Nothing in it is resolved, imported or handed to Hydra as a word of its own (`icd.replaying`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icd.errors import ConfigError, MissingResource, VerificationError
from icd.reading import read_json, sha256
from icd.recording import TEXTS, digest, interpolates, leaves, named_file, spoken

LOCK = "config.lock.json"
LARGEST = 1 << 24  # bytes of a lock; one of icd's has a few thousand
LONGEST = 100  # characters of a choice's name, which becomes that of a file
CHOICE = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")
NO_VALUE = "???"  # OmegaConf keeps the value that there was
ABSOLUTE = re.compile(r".*#sha256:[0-9a-f]{64}", re.DOTALL)  # in locks that do not list what they mask


@dataclass(frozen=True)
class Record:
    """A lock: ``choices`` by group, ``tree`` the resolved configuration with texts as recorded, ``masked``
    the keys whose values must be given again, ``files`` SHA-256 by key.
    """

    folder: Path
    choices: Mapping[str, str]
    tree: Mapping[str, Any]
    masked: tuple[str, ...]
    files: Mapping[str, str]


def read(folder: Path, groups: Set[str], scalars: Set[str]) -> Record:
    """The lock of the run directory ``folder``; ConfigError names what is no data that icd writes.

    ``groups`` and ``scalars``: the keys that there are.
    """
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    if not (folder / LOCK).is_file():
        raise MissingResource(f"{folder}: no {LOCK} there; name a run directory")
    where = f"{folder.name}/{LOCK}"
    tree = _json(folder / LOCK, where)
    choices, masked, files = (tree.pop(key, None) for key in ("choices", "masked", "files"))
    if not isinstance(choices, dict):
        raise ConfigError(f"{where} holds no choices; it is not a lock that icd wrote")
    for group, choice in choices.items():
        if group not in groups:
            raise ConfigError(f"{where}: choices: {group!r:.80} is no group; there are {_list(groups)}")
        if not isinstance(choice, str) or len(choice) > LONGEST or not CHOICE.fullmatch(choice):
            raise ConfigError(f"{where}: choices.{group}: expected the name of a choice, got {choice!r:.80}")
    for key, value in tree.items():
        if key not in groups | scalars:
            raise ConfigError(f"{where}: unknown key {key!r}; a record holds {_list(groups | scalars)}")
        if key in groups and not isinstance(value, dict):
            raise ConfigError(f"{where}: {key}: expected its keys and values, got {value!r:.80}")
        if key in scalars and isinstance(value, (dict, list)):
            raise ConfigError(f"{where}: {key}: expected one value, got {value!r:.80}")
        _literal(value, key, where)
    for part, wanted, found in (("choices", groups, choices), ("", groups | scalars, tree)):
        if lacking := sorted(wanted - {*found}):
            raise ConfigError(
                f"{where}: {part or 'the lock'} lacks {', '.join(lacking)}; a default in the place of what "
                "the record does not say would be another run"
            )
    if files is not None and not (
        isinstance(files, dict) and all(isinstance(value, str) for value in files.values())
    ):
        raise ConfigError(f"{where}: files: expected a SHA-256 by key")
    masked = _masked(masked, tree, where)
    return Record(folder, choices, tree, tuple(masked), _earlier(folder, tree) if files is None else files)


def _json(path: Path, where: str) -> dict[str, Any]:
    if path.stat().st_size > LARGEST:
        raise ConfigError(f"{where}: larger than {LARGEST} bytes; it is not a lock that icd wrote")
    value = read_json(path, where)
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected an object, got {type(value).__name__}")
    return value


def _masked(masked: Any, tree: Mapping[str, Any], where: str) -> Sequence[str]:
    """The keys whose values a lock does not tell, each one of its values."""
    values = dict(leaves(tree))
    if masked is None:
        return [key for key, value in values.items() if isinstance(value, str) and ABSOLUTE.fullmatch(value)]
    if not isinstance(masked, list) or not all(isinstance(key, str) for key in masked):
        raise ConfigError(f"{where}: masked: expected a list of keys")
    for key in masked:
        if key not in values or not isinstance(values[key], (str, list)):
            raise ConfigError(f"{where}: masked: {key!r:.80} is no text or list of this lock")
    return sorted({*masked})


def _literal(value: Any, key: str, where: str, depth: int = 0) -> None:
    """ConfigError unless ``value`` is made of literals under keys that build nothing."""
    if depth > 20:
        raise ConfigError(f"{where}: {key} is nested too deeply; it is not a lock that icd wrote")
    if isinstance(value, Mapping):
        for name, below in value.items():
            whose = f"{key}.{name}"
            if re.fullmatch(r"_\w+_", name) and not (name == "_target_" and depth == 0):
                raise ConfigError(f"{where}: {whose}: a record builds nothing; take the key out")
            if interpolates(name):
                raise ConfigError(f"{where}: {whose}: expected a plain key, got an interpolation")
            _literal(below, whose, where, depth + 1)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            _literal(below, f"{key}.{number}", where, depth + 1)
    elif isinstance(value, str) and interpolates(value):
        raise ConfigError(f"{where}: {key}: expected a literal value, got the interpolation {value!r:.80}")
    elif isinstance(value, str) and os.path.isabs(spoken(value)) and key.rpartition(".")[0] != TEXTS:
        raise ConfigError(
            f"{where}: {key}: expected no path from the root, got {value!r:.80}; icd records none"
        )
    elif value == NO_VALUE:
        raise ConfigError(f"{where}: {key}: expected a literal value, got {value}, which stands for none")


def _list(names: Set[str]) -> str:
    return ", ".join(sorted(names))


def _earlier(folder: Path, tree: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the user's texts in the record of a version whose locks had none."""
    try:
        texts = read_json(folder / "metrics.json")["inputs"]["texts"]
        found = {f"model.{key}": text["sha256"] for key, text in texts.items() if text["file"] is not None}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}  # a run that did not finish has none
    held = {key for key, value in leaves(tree) if isinstance(value, str)}
    return {key: value for key, value in found.items() if key in held and isinstance(value, str)}


def check_files(record: Record, given: Set[str]) -> None:
    """The files that the run read, as they were, unless their keys are ``given`` on the command line.

    MissingResource where one is not here, VerificationError where it was changed.
    """
    values = {**dict(leaves(record.tree)), **_members(record.tree)}
    for key, wanted in record.files.items():
        if key in given or key.rpartition(".")[0] in given or key in record.masked:
            continue
        value = values.get(key)
        if not isinstance(value, str):
            raise ConfigError(f"{record.folder.name}/{LOCK}: files: {key} names no file of this lock")
        path = named_file(key, spoken(value))
        if path is None:
            raise MissingResource(
                f"{key}={spoken(value)!r}: the file that the run read is not here; give another: {key}=FILE"
            )
        if (digest(path) if path.is_dir() else sha256(path)) != wanted:
            raise VerificationError(
                f"{key}={spoken(value)!r}: the file was changed after the run, whose record holds another "
                f"SHA-256; to run with what it holds now, name it: {key}={spoken(value)}"
            )


def _members(tree: Mapping[str, Any]) -> dict[str, Any]:
    lists = ((key, value) for key, value in leaves(tree) if isinstance(value, list))
    return {f"{key}.{number}": member for key, value in lists for number, member in enumerate(value)}
