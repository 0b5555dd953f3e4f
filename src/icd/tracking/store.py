"""Manners toward an MLflow store: quiet, patient with a locked database, impatient with a dead server."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from icd.errors import first_line
from icd.recording import told, without_secrets

T = TypeVar("T")

PROBE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
UPLOAD = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
LOUD = ("mlflow", "alembic")
ATTEMPTS = 8
LOCKED = ("database is locked", "database table is locked")
LOCK_TIMEOUT_S = 120.0


@contextlib.contextmanager
def environment(changes: Mapping[str, str | None]) -> Iterator[None]:
    """Environment variables set (None: unset) inside the block and restored after it."""
    before = {key: os.environ.get(key) for key in changes}
    try:
        _set(changes)
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for key, value in values.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing of MLflow and its database migrations is printed inside the block: what fails is raised."""
    loggers = [logging.getLogger(name) for name in LOUD]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Processes that write into the same SQLite file take turns; other stores keep order themselves.

    Creating the tables, and finding-or-creating a sweep's parent run, are not atomic in MLflow. The
    lock is a file beside the database; a holder that dies releases it. After two minutes the block
    runs without it: MLflow's own retries are then all there is.
    """
    path = sqlite_file(uri)
    if path is None:
        yield
        return
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks of this kind
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / f".{path.name}.lock").open("a") as held:
        end = time.monotonic() + LOCK_TIMEOUT_S
        while time.monotonic() < end:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                time.sleep(0.05)
        yield


def sqlite_file(uri: str) -> Path | None:
    """The database file of a ``sqlite:///`` address."""
    scheme, found, path = uri.partition(":///")
    return Path(path) if found and scheme == "sqlite" and path else None


def patiently(call: Callable[[], T], pause: float = 0.1) -> T:
    """The call's result, tried again while the database is locked by another writer."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError

    for attempt in range(ATTEMPTS):
        try:
            return call()
        except (MlflowException, OperationalError) as error:
            if attempt == ATTEMPTS - 1 or not any(text in str(error) for text in LOCKED):
                raise
            time.sleep(pause * 2**attempt)
    raise AssertionError("unreachable")


def shown(uri: str) -> str:
    """The address as a record holds it: without a login, a token or a folder of this machine."""
    return without_secrets(uri)


def brief(error: BaseException, uri: str) -> str:
    """An error in a few words, without what `shown` hides."""
    if "Max retries exceeded" in str(error):
        return "the server does not answer"
    line = told(first_line(error).replace(uri, shown(uri)))
    return line if len(line) <= 160 else f"{line[:157]}..."
