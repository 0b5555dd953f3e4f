"""What a user adds from a folder of their own: YAMLs beside conf/, and the dataclasses that they name."""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icd import contracts
from icd.errors import ConfigError
from icd.reading import Unreadable, read_yaml
from icd.recording import escaped, spoken
from icd.solver.base import LayoutSolver

PROTOCOLS: dict[str, type] = {
    "model": contracts.Model,
    "graph": contracts.Graph,
    "solver": LayoutSolver,
    "transform": contracts.Transform,
    "precision": contracts.PrecisionSpec,
    "runtime": contracts.Engine,
    "quality": contracts.Quality,
}


def named_class(group: str, target: Any) -> Any:
    """The dataclass called ``target``, of this package or of the user's own, that serves as ``group``.

    ConfigError where there is none, and where it lacks what its protocol promises.
    """
    module, _, name = target.rpartition(".") if isinstance(target, str) else ("", "", "")
    try:
        if not module:
            raise ImportError("expected MODULE.CLASS")
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        ours = module.startswith("icd.")
        where = "in the icd package" if ours else f"that can be imported ({error})"
        hint = "" if ours else "; is its folder on PYTHONPATH?"
        raise ConfigError(f"{group}._target_={target!r} names nothing {where}{hint}") from error
    except Exception as error:  # a module of the user's own, which may raise anything
        told = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{group}._target_={target!r}: importing {module} failed ({told})") from error
    if not isinstance(cls, type) or not dataclasses.is_dataclass(cls):
        raise ConfigError(f"{group}._target_={target!r}: expected a dataclass")
    there = {*dir(cls), *(f.name for f in dataclasses.fields(cls))}
    lacking = sorted(promised(group) - there)
    if lacking:
        raise ConfigError(f"{group}._target_={target!r}: it lacks {', '.join(lacking)}")
    return cls


def promised(group: str) -> set[str]:
    """Names that a choice of ``group`` must have: those of its protocol in `icd.contracts`."""
    protocol = PROTOCOLS.get(group)
    names = set() if protocol is None else {*vars(protocol), *getattr(protocol, "__annotations__", {})}
    return {name for name in names if not name.startswith("_")}


def with_own_conf(conf: Path, overrides: Sequence[str], folder: str | None) -> list[str]:
    """``overrides`` with the user's folder (``--config-dir``) as Hydra's search path spells it.

    ConfigError for a folder that is not there, and for a choice that would never be found since the one
    in ``conf`` has its name.
    """
    key = "hydra.searchpath="
    named = [word for word in overrides if word.startswith(key)]
    if folder is not None:
        if named:
            raise ConfigError(f"--config-dir and {key.rstrip('=')} say the same; use one of them")
        named = [f"{key}[{quoted(escaped(f'file://{Path(folder).resolve()}'))}]"]
    for path in (Path(p) for word in named for p in folders(word.removeprefix(key))):
        if not path.is_dir():
            raise ConfigError(f"your own configuration folder {path.name!r} is not there")
        for file in sorted(path.glob("*/*.yaml")):
            if (conf / file.parent.name / file.name).is_file():
                raise ConfigError(
                    f"{file.parent.name}={file.stem}: icd has a choice of that name, so yours would never be "
                    "used; give your file another name"
                )
            if is_asked_for(file, overrides):
                check_file(file)
    return [*(word for word in overrides if not word.startswith(key)), *named]


def is_asked_for(file: Path, overrides: Sequence[str]) -> bool:
    """Whether a word chooses ``file``, of its group, alone or in a sweep."""
    pairs = (word.lstrip("+").partition("=") for word in overrides)
    return any(key == file.parent.name and file.stem in value.split(",") for key, _, value in pairs)


def check_file(file: Path) -> None:
    """ConfigError for a file that Hydra would spell out for ever; what is no YAML it names itself."""
    from yaml import YAMLError

    try:
        read_yaml(file)
    except Unreadable as error:
        if isinstance(error.__cause__, (YAMLError, UnicodeDecodeError)):
            return
        raise ConfigError(f"{file.parent.name}/{error}") from error
    except OSError as error:
        raise ConfigError(f"{file.parent.name}/{file.name}: it cannot be read ({error.strerror})") from error


def folders(value: str) -> list[str]:
    """The folders that ``hydra.searchpath`` names, of a list or of one."""
    item = r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"|([^\[\],\s][^\[\],]*)"
    found = re.findall(item, value, re.DOTALL)
    texts = [bare or unquoted(one or two, "'" if one else '"') for one, two, bare in found]
    return [spoken(text).removeprefix("file://") for text in texts if text.startswith("file://")]


def unquoted(body: str, mark: str) -> str:
    """What stands between quotes in Hydra's override grammar."""
    body = re.sub(rf"(\\+)(?={mark})", lambda found: found[1][: len(found[1]) // 2], body)
    return re.sub(r"(\\+)\Z", lambda found: found[1][: len(found[1]) // 2], body)


def quoted(text: str) -> str:
    """``text`` as a word in Hydra's override grammar, where a backslash only matters before a quote."""
    body = re.sub(r"(\\*)(?='|\Z)", r"\1\1", text) if "\\" in text else text
    return "'" + body.replace("'", "\\'") + "'"
