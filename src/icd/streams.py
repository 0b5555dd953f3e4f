"""Standard streams that cost no result: closed, full, with a narrow encoding or a reader that left."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TextIO


class Forgiving(io.FileIO):
    """A descriptor whose failed writes are remembered in ``lost`` instead of raised."""

    lost: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """All of ``data``, or nothing once a write has failed."""
        if self.lost is None:
            try:
                return super().write(data)
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


def steady() -> None:
    """Make the standard streams of this process steady; those that somebody else put there are left alone.

    A closed descriptor becomes the null device: the next file that is opened would take its number, and what
    is printed would go into that file. A character that the encoding lacks is escaped.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            _null(number)
    sys.stdout = _steady(sys.stdout, sys.__stdout__, 1)
    sys.stderr = _steady(sys.stderr, sys.__stderr__, 2)


def _null(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)


def _steady(stream: TextIO | None, first: TextIO | None, number: int) -> TextIO:
    if stream is not None and stream is not first:
        return stream
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(Forgiving(number, "wb", closefd=False)),  # type: ignore[type-var]
        encoding=getattr(stream, "encoding", None) or "utf-8",
        errors="backslashreplace",
        line_buffering=number == 2 or os.isatty(number),
    )


def lost_output() -> str | None:
    """Why standard output could not be written; None where it could, or its reader left (``| head``)."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    lost = raw.lost if isinstance(raw, Forgiving) else None
    if lost is None or lost.errno == errno.EPIPE:
        return None
    return lost.strerror or type(lost).__name__
