"""The folder of YAMLs that hold every choice, the nearest of a word and what is wrong with a YAML: for all
who may not see Hydra.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

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


def broken_yaml(error: Any, read: Path | None = None) -> str:
    """Which file, which line and why, without its folder; ``read``: the file, if it does not know."""
    mark = getattr(error, "problem_mark", None)
    why = getattr(error, "problem", None) or "it does not parse"
    if mark is None:
        return f"a configuration file is not YAML: {why}"
    file = read or Path(str(mark.name).strip('"'))
    return f"{file.parent.name}/{file.name}, line {mark.line + 1}: not YAML ({why})"


def published(group: str, name: str) -> dict[str, Any] | None:
    """The fields of a choice as icd publishes it, without its class; None where it does not."""
    node = _published(group, name)
    return None if node is None else {k: v for k, v in node.items() if k not in ("_target_", "defaults")}


def published_class(group: str, name: str) -> str | None:
    """What a choice of icd's is made by; None where there is none of that name."""
    node = _published(group, name)
    return None if node is None else str(node["_target_"])


def _published(group: str, name: str) -> dict[str, Any] | None:
    import yaml

    path = conf_dir() / group / f"{name}.yaml"
    if not os.path.isfile(path):  # whatever the name holds
        return None
    return dict(yaml.safe_load(path.read_text("utf-8")))
