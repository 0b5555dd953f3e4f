"""Names and texts of a configuration: a published name stands for what is published under it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.choices import published, published_class
from icd.errors import ConfigError

NAMED = ("model", "measure", "hardware", "pipeline", "gate")
LABELS = ("custom",)  # models whose name is the user's to give


def check_names(tree: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """ConfigError where a group calls itself otherwise than its choice does, or as another choice of icd's.

    ``tree``: the resolved configuration; ``choices``: by group, empty where they are not known.
    """
    for group in NAMED:
        choice, name = choices.get(group), tree[group].get("name")
        if choice is None or name is None:
            continue
        ours = published(group, str(choice))
        fixed = ours is not None and choice not in LABELS and "name" in ours
        if ours is not None and fixed and name != ours["name"]:
            raise ConfigError(
                f"{group}.name={name!r}: {group}={choice} is called {ours['name']}, and a record goes by "
                f"that; leave the name, or choose {group}=..."
            )
        theirs = published_class(group, str(name)) if group == "model" and name != choice else None
        another = theirs is not None and theirs != tree[group].get("_target_")  # not a variant of its own
        if another and (ours is None or choice in LABELS):
            raise ConfigError(f"model.name={name!r}: that is a model of icd's; give yours a name of its own")


def check_texts(value: Any, key: str = "") -> None:
    """ConfigError for a text that no file could hold: NUL, or half of a surrogate pair."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            _check_text(str(name), f"a key in {key}" if key else "a key")
            check_texts(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for below in value:
            check_texts(below, key)
    elif isinstance(value, str):
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if "\0" in text:
        raise ConfigError(f"{key}: the text {text!r:.80} holds a NUL character; take it out")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{key}: the text {text!a:.80} is not UTF-8 (at {error.start})") from error
