"""Records that somebody else wrote, or damaged: one sentence and exit code 6, whatever is wrong with them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icd.errors import ConfigError, VerificationError, brief
from icd.pipeline.files import check_sums, links

# what reading values of another kind than expected raises
UNREADABLE = (
    ConfigError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, OSError,
    EOFError, struct.error, zlib.error, zipfile.BadZipFile,
)  # fmt: skip


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """VerificationError where the block cannot make sense of the record in ``folder``."""
    from jinja2 import TemplateError

    try:
        yield
    except (*UNREADABLE, TemplateError) as error:
        what = brief(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {brief(error)}"
        raise VerificationError(f"{folder}: the record is not of schema icd.metrics/1 ({what})") from error


def no_links(folder: Path) -> None:
    """VerificationError where a link lies in the record, which would lead out of it."""
    for name in links(folder):
        raise VerificationError(f"{folder}: {name} is a link; a record holds files of its own")


def unchanged(folder: Path) -> None:
    """VerificationError where the record differs from its sums; its graphs may be left out."""
    no_links(folder)
    for problem in check_sums(folder, "W"):
        raise VerificationError(f"{folder}: {problem}")
