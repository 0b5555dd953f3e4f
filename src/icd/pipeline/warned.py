"""Warnings of a child process: they travel to the parent, which prints and logs them as notices.

What a child writes to its standard error is shown only when the child leaves no result.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any


class Telling(logging.Handler):
    """Hands every warning on as an event ``notice``."""

    def __init__(self, tell: Callable[..., Any]) -> None:
        super().__init__(logging.WARNING)
        self.told = tell

    def emit(self, record: logging.LogRecord) -> None:
        """One event for each record."""
        self.told("notice", message=record.getMessage())


def tell_warnings(tell: Callable[..., Any]) -> None:
    """From now on ``tell("notice", message=...)`` is called for every warning of this package."""
    logging.getLogger("icd").addHandler(Telling(tell))
