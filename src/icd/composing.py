"""One cell of a command line: composed, checked, refused in a sentence before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from icd.errors import ConfigError, first_line
from icd.places import writable
from icd.refusals import hydra_errors, refuse_lists, sentence, unknown_key, unreadable

COMPOSED = {"overrides", "runtime"}  # what Hydra says of a composition
JOB = {"override_dirname", "num", "id", "config_name"}
SWEEP = {"sweeper", "sweep", "launcher"}
if TYPE_CHECKING:
    from omegaconf import DictConfig

    from icd.pipeline.experiment import Experiment


def compose_cell(conf: Path, overrides: Sequence[str]) -> DictConfig:
    """The composed configuration, Hydra's own node included.

    A key that a group does not have is added to it, so that `check` refuses it among those that it has.
    """
    from hydra import compose, initialize_config_dir

    from icd.config import GROUPS

    try:
        with initialize_config_dir(str(conf), job_name="icd", version_base="1.3"):
            return compose("config", overrides=list(overrides), return_hydra_config=True)
    except hydra_errors() as error:
        key = unknown_key(error) or ""
        added = [f"+{word}" if word.partition("=")[0] == key else word for word in overrides]
        if key.partition(".")[0] in GROUPS and added != list(overrides):
            return compose_cell(conf, added)
        raise ConfigError(sentence(error)) from error
    except UnicodeDecodeError as error:  # Hydra reads the file and does not say which
        told = f"byte {error.object[error.start]:#04x} at {error.start}"
        raise ConfigError(f"a configuration file that was named is not UTF-8 text ({told})") from error
    except OSError as error:
        where = f" ({Path(error.filename).name:.80})" if error.filename else ""
        told = error.strerror or first_line(error)
        raise ConfigError(f"a configuration file cannot be read: {told}{where}") from error
    except unreadable() as error:
        raise ConfigError(
            f"the command line or a file that it names cannot be read: {first_line(error)}"
        ) from error


def check_cell(conf: Path, overrides: Sequence[str], sweeps: bool = False) -> Experiment:
    """Compose one cell and check it; `ConfigError` or `MissingResource` says what is wrong."""
    from icd.config import GROUPS, check

    if merged := refuse_lists(GROUPS, overrides):
        raise ConfigError(merged)
    cfg = compose_cell(conf, overrides)
    refuse_own_hydra(conf, overrides, cfg)
    experiment = check(cfg)
    if sweeps:
        refuse_directory("hydra.sweep.dir", Path(str(cfg.hydra.sweep.dir)))
    else:
        if params := cfg.hydra.sweeper.get("params"):
            told = " ".join(f"{key}={value}" for key, value in params.items())
            raise ConfigError(f"the configuration names a sweep ({told}); -m runs its cells")
        refuse_used_directory(overrides)
        refuse_directory("hydra.run.dir", Path(str(cfg.hydra.run.dir)))
    return experiment


def refuse_own_hydra(conf: Path, overrides: Sequence[str], cfg: DictConfig) -> None:
    """ConfigError where a file of the user's own folder sets more of Hydra than a sweep may.

    What Hydra is asked on the command line is asked by whoever types it.
    """
    from omegaconf import OmegaConf

    asked = [word for word in overrides if word.lstrip("+~").startswith("hydra")]
    if not any(word.startswith("hydra.searchpath=") for word in asked):
        return
    plain = compose_cell(conf, asked)
    now, before = (OmegaConf.to_container(c.hydra, resolve=False) for c in (cfg, plain))
    assert isinstance(now, dict) and isinstance(before, dict)
    for tree in (now, before):
        tree["job"] = {k: v for k, v in tree["job"].items() if k not in JOB}
    free = COMPOSED | (SWEEP if now["sweeper"].get("params") else set())
    for key in sorted(str(k) for k in {*now, *before} - free):
        if now.get(key) != before.get(key):
            raise ConfigError(
                f"hydra.{key}: a file of your own configuration folder sets it; there only a sweep may set "
                f"hydra, and no more of it than {', '.join(sorted(SWEEP))}"
            )


def refuse_used_directory(overrides: Sequence[str]) -> None:
    """A run directory that holds something is never written into."""
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") == "hydra.run.dir":
            path = Path(value.strip("'\""))
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise ConfigError(f"hydra.run.dir={value}: it exists and is not empty; name a new directory")


def refuse_directory(key: str, path: Path) -> None:
    """ConfigError where ``path`` could not be made: a file is in the way, or its folder is read-only."""
    there = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not there.is_dir():
        raise ConfigError(f"{key}={path}: {there.name!r} is a file; name a directory that can be made")
    if not writable(path):
        raise ConfigError(
            f"{key}={path}: the folder {there.name!r} may not be written; name another with {key}="
        )
