"""``icd sync RUN... [--uri URI]``: log finished runs, or all cells of a sweep, into an MLflow store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from icd.errors import ConfigError, Exit, MissingResource, VerificationError
from icd.ledger import finished_cells, is_sweep
from icd.tools.damaged import readable, unchanged
from icd.tracking.mlflow import MLflow
from icd.tracking.projection import finished, project
from icd.tracking.sweep import FILE, project_sweep

USAGE = "usage: icd sync RUN|SWEEP... [--uri URI]"
URI = "sqlite:///mlflow.db"
ARTIFACTS = "mlartifacts"
EXPERIMENT = "icd"


def main(argv: Sequence[str]) -> int:
    """Log every run named and print a line each; nothing is logged when one of them is not finished."""
    words, uri = arguments(argv)
    folders = [cell for word in words for cell in cells(Path(word))]
    for folder in folders:
        finished(folder)
        unchanged(folder)
        with readable(folder):
            project(folder)
    for word in words:
        if (Path(word) / FILE).is_symlink():
            raise VerificationError(f"{word}: {FILE} is a link; a record holds files of its own")
        if (Path(word) / FILE).is_file():
            with readable(Path(word)):
                project_sweep(Path(word))
    tracking = MLflow(uri=uri, artifacts=ARTIFACTS, experiment=EXPERIMENT)
    for folder in folders:
        print(tracking.push(folder))
    for word in words:
        if (Path(word) / FILE).is_file():
            print(tracking.push_sweep(Path(word)))
    return int(Exit.DONE)


def arguments(argv: Sequence[str]) -> tuple[list[str], str]:
    """The directories and the store's address."""
    words, uri = [], URI
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--uri" and rest:
            uri = rest.pop(0)
        elif word.startswith("--uri="):
            uri = word.removeprefix("--uri=")
        elif word == "--uri":
            raise ConfigError(f"{USAGE}; --uri: expected an address behind it")
        elif word.startswith("-"):
            raise ConfigError(f"{USAGE}; got {word!r}")
        else:
            words.append(word)
    if not uri:
        raise ConfigError(f"{USAGE}; --uri: expected an address behind it")
    if not words:
        raise ConfigError(f"{USAGE}; expected one or more run or sweep directories")
    return words, uri


def cells(folder: Path) -> list[Path]:
    """The run itself, or the finished cells of a sweep directory; MissingResource when there is none."""
    if not folder.is_dir():
        raise MissingResource(f"{folder}: there is no such run directory")
    if (folder / "metrics.json").is_file() or not is_sweep(folder):
        return [folder]
    found = finished_cells(folder)
    if not found:
        raise MissingResource(f"{folder}: this sweep has no finished cell")
    return found
