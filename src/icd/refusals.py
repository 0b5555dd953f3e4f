"""Hydra's refusals in icd's words: one sentence each, what was expected, what came and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence

from icd.choices import broken_yaml, conf_dir, did_you_mean

LIST_ALL = "`python -m icd --cfg job` lists all"

EXTRAS = ("joblib", "ray", "slurm")  # launchers of Hydra that an extra of the same name installs


def unreadable() -> tuple[type[Exception], ...]:
    """What parsing or composing a command line raises: `hydra_errors`, and what Hydra does not foresee (5,000
    digits, brackets a thousand deep, a key below one that is null).
    """
    return (*hydra_errors(), ValueError, RecursionError, AssertionError, AttributeError, TypeError)


def hydra_errors() -> tuple[type[Exception], ...]:
    """What Hydra raises for a command line or a file that it cannot compose."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    return (HydraException, OmegaConfBaseException, YAMLError)


def sentence(error: Exception) -> str:
    """A refusal in one line, with a did-you-mean for a misspelt group choice or key."""
    from hydra.errors import OverrideParseException
    from yaml import YAMLError

    text = str(error).strip()
    if isinstance(error, YAMLError):
        return broken_yaml(error)
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override!r:.200} cannot be read; expected KEY=VALUE, lists as [a,b], and quotes around "
            "a value with commas, spaces or brackets: \"KEY='a, b'\""
        )
    if launcher := re.search(r"Could not find 'hydra/launcher/([^']*)'", text):
        brings = "".join(
            f"; pip install 'icd[{extra}]' brings it" for extra in EXTRAS if extra in launcher[1]
        )
        return f"hydra/launcher={launcher[1]}: no such launcher here{brings}"
    if choice := re.search(r"Could not find '(\w+)/([^']*)'", text):
        group, word = choice.groups()
        ours = {file.stem for file in (conf_dir() / group).glob("*.yaml")}
        known = sorted(ours | set(re.findall(r"^\t(\S+)$", text, re.MULTILINE)))  # those of one's own folder
        close = did_you_mean(word, known)
        own = "" if close or set(known) - ours else "; a choice of your own needs --config-dir FOLDER"
        return f"{group}={word}: unknown choice.{close} {group} knows: {', '.join(known)}{own}"
    if several := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return (
            f"{several[1]} names several values; -m runs one cell for each, "
            f'and quotes make it one value: "{several[1].replace("=", "=" + chr(39), 1)}\'"'
        )
    if (key := unknown_key(error)) is not None:
        from icd.config import GROUPS, SCALARS

        return f"unknown key {key!r}.{did_you_mean(key, [*SCALARS, *GROUPS])} {LIST_ALL}"
    return next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)


def unknown_key(error: Exception) -> str | None:
    """The key that a refusal is about, where it is about one that is not there."""
    text = str(error)
    found = re.search(r"Could not override '([^']+)'", text) or re.search(
        r"Key '([^']+)' is not in struct", text
    )
    return found[1] if found else None


def refuse_lists(groups: Sequence[str], overrides: Sequence[str]) -> str | None:
    """A sentence where a group was given a list; Hydra would merge the choices into one."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") in groups and value.startswith("["):
            return f"{override}: expected one choice; -m {key}={value.strip('[]')} runs one cell for each"
    return None
