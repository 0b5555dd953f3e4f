"""``icd rerun RUN [overrides]``: run again what a run's lock says, with overrides on top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from icd.errors import ConfigError, MissingResource
from icd.report.folder import read_json


def overrides_of(words: Sequence[str]) -> list[str]:
    """The command line that repeats the run directory ``words[0]``; later words override it.

    A value that the lock holds as ``name#digest`` (a path of the machine it ran on) must be given anew.
    """
    if not words or words[0].startswith("-"):
        raise ConfigError("usage: icd rerun RUN [overrides]; expected a run directory first")
    folder, extra = Path(words[0]), list(words[1:])
    if not folder.is_dir():
        raise MissingResource(f"{folder}: no such run directory")
    lock = folder / "config.lock.json"
    if not lock.is_file():
        raise MissingResource(f"{folder}: no config.lock.json there; name a run directory")
    tree = read_json(lock)
    choices = tree.pop("choices", None)
    if not isinstance(choices, dict):
        raise ConfigError(f"{folder.name}/{lock.name} holds no choices; it is not a lock that icd wrote")
    given = {word.split("=", 1)[0].lstrip("+") for word in extra}
    out = [f"{group}={choice}" for group, choice in choices.items() if group not in given]
    for key, value in flatten(tree):
        group = key.partition(".")[0]
        if key in given or group in given or key.endswith("_target_"):
            continue
        if isinstance(value, str) and "#sha256:" in value:
            raise ConfigError(f"{key} was a path ({value.partition('#')[0]}); give it again: {key}=PATH")
        out.append(f"{key}={spell(value)}")
    return [*out, *extra]


def flatten(tree: object, prefix: str = "") -> list[tuple[str, object]]:
    """Dotted keys and leaf values (lists are leaves)."""
    if not isinstance(tree, dict):
        return [(prefix, tree)]
    return [
        leaf for key, value in tree.items() for leaf in flatten(value, f"{prefix}.{key}" if prefix else key)
    ]


def spell(value: object) -> str:
    """A value in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ",".join(spell(item) for item in value) + "]"
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
