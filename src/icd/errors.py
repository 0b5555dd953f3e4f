"""Failures as types: each carries the documented exit code and one sentence for the user."""

from __future__ import annotations

import errno
import re
from enum import IntEnum
from pathlib import Path

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


class Exit(IntEnum):
    """Exit codes of every icd command (README, section "Exit codes")."""

    DONE = 0
    GATE_FAILED = 1
    BAD_CONFIG = 2
    MISSING_RESOURCE = 3
    MEASUREMENT_FAILED = 4
    SOLVER_TIMEOUT = 5
    VERIFICATION_FAILED = 6
    CELLS_FAILED = 7


class IcdError(Exception):
    """A failure with a sentence: what was expected, what came, what to do."""

    code: Exit = Exit.MEASUREMENT_FAILED


class ConfigError(IcdError):
    """The configuration cannot be run as written."""

    code = Exit.BAD_CONFIG


class MissingResource(IcdError):
    """A package, file, model or device that the run needs is not there."""

    code = Exit.MISSING_RESOURCE


class MeasurementError(IcdError):
    """A measurement that was started did not yield a value."""

    code = Exit.MEASUREMENT_FAILED


class Unforeseen(MeasurementError):
    """An exception that nothing expected, of icd itself or of code that was plugged in.

    ``trace``: the whole traceback, without folders of this machine.
    """

    def __init__(self, message: str, trace: str) -> None:
        super().__init__(message)
        self.trace = trace


class SolverTimeout(IcdError):
    """The solver's budget ended before the trivial candidates were scored."""

    code = Exit.SOLVER_TIMEOUT


class VerificationError(IcdError):
    """An equivalence, engine or record check did not hold."""

    code = Exit.VERIFICATION_FAILED


BY_CODE: dict[int, type[IcdError]] = {
    Exit.BAD_CONFIG: ConfigError,
    Exit.MISSING_RESOURCE: MissingResource,
    Exit.MEASUREMENT_FAILED: MeasurementError,
    Exit.SOLVER_TIMEOUT: SolverTimeout,
    Exit.VERIFICATION_FAILED: VerificationError,
}


def unwritable(error: OSError) -> str | None:
    """A sentence for a full disk or a file that may not be touched; None for any other failure."""
    if error.errno not in UNWRITABLE:
        return None
    where = f" ({Path(str(error.filename)).name:.80})" if error.filename else ""
    return f"{error.strerror}{where}"


def first_line(error: BaseException) -> str:
    """What an exception says first; its name where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


LONGEST = 400  # characters of an exception's own words in a sentence


def brief(error: BaseException) -> str:
    """What an exception says first, cut where it goes on and on, without folders of this machine."""
    line = without_paths(first_line(error))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def as_text(text: str) -> str:
    """``text`` with every character that UTF-8 cannot write, half of one, escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def without_paths(text: str) -> str:
    """``text`` with absolute paths cut down to their last part: no folder of this machine is recorded."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/'\",:;]+/)+", "", text)
