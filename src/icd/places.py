"""The folder that ``ICD_DATA_DIR`` names: a user's texts, traces and models."""

from __future__ import annotations

import os
from pathlib import Path

from icd.errors import ConfigError, MissingResource

VARIABLE = "ICD_DATA_DIR"


def data_dir(made: bool = False) -> Path | None:
    """The folder, None where the variable is not set; ``made``: it is about to be made.

    ConfigError where it names a file, MissingResource where it names nothing.
    """
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    path = Path(named)
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{VARIABLE} names {path.name!r}, which is a file; expected a directory")
    if not made and not path.exists():
        raise MissingResource(f"{VARIABLE} names {path.name!r}, which is not there; make it, or unset it")
    return path
