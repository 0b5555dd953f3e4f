"""The folder of YAMLs that hold every choice, and the nearest of a word: for all who may not see Hydra."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

from icd.errors import ConfigError


def conf_dir() -> Path:
    """The folder of the Hydra tree: ``conf/`` of a checkout, else the copy inside the wheel."""
    here = Path(__file__).resolve()
    for candidate in (here.parents[2] / "conf", here.parent / "conf"):
        if (candidate / "config.yaml").is_file():
            return candidate
    raise ConfigError("icd's conf/ folder is not there; reinstall the package")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`` Did you mean 'x'?`` for the closest known word, else an empty string."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
