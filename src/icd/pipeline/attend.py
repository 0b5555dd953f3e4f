"""Waiting for a child process: what it writes is heard line by line, until the child is gone."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

POLL_S = 0.5  # between looks at a child whose end the system does not announce
CHUNK = 1 << 16
LAST_WORDS = 64  # chunks that are read of a child that is gone


class Late(Exception):
    """The child's time was up."""


def attend(
    child: subprocess.Popen[bytes],
    hear: Callable[[bytes], None],
    limits: Callable[[], float | None],
) -> int:
    """Hand every line that the child writes to ``hear`` until it is gone, and return its exit code.

    ``limits()``: when its time is up, by `time.monotonic`; asked again after whatever is heard. Raises `Late`
    then. The end of the child counts and not that of its output, which what it started may hold open. Its
    process group is ended with it, so the child has to lead one.
    """
    assert child.stdout is not None
    out = child.stdout.fileno()
    os.set_blocking(out, False)
    lines = Lines(hear)
    with selectors.DefaultSelector() as selector, announced(child.pid) as end:
        selector.register(out, selectors.EVENT_READ)
        if end is not None:
            selector.register(end, selectors.EVENT_READ)
        is_open = True
        while child.poll() is None:
            limit = limits()
            left = None if limit is None else limit - time.monotonic()
            if left is not None and left <= 0:
                raise Late
            selector.select(min(x for x in (left, None if end is not None else POLL_S, 1e6) if x is not None))
            if is_open and not lines.take(out, 1):
                selector.unregister(out)
                is_open = False
    end_group(child)
    if is_open:
        lines.take(out, LAST_WORDS)
    lines.close()
    return child.returncode


class Lines:
    """Bytes in pieces, handed on line by line."""

    def __init__(self, hear: Callable[[bytes], None]) -> None:
        self.hear, self.rest = hear, b""

    def take(self, out: int, chunks: int) -> bool:
        """Hand on what is there to be read; False at the end of it all."""
        for _ in range(chunks):
            try:
                found = os.read(out, CHUNK)
            except BlockingIOError:
                return True
            if not found:
                return False
            *whole, self.rest = (self.rest + found).split(b"\n")
            for line in whole:
                self.hear(line)
        return True

    def close(self) -> None:
        """Hand on a last line that nothing ended."""
        if self.rest:
            self.hear(self.rest)


@contextmanager
def announced(process: int) -> Iterator[int | None]:
    """A descriptor that can be read when the process is gone; None where the system has no such thing."""
    end = None
    with suppress(OSError, AttributeError):
        end = os.pidfd_open(process)
    try:
        yield end
    finally:
        if end is not None:
            os.close(end)


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Kill the child, which leads a process group, and all that it started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def ending(code: int) -> str:
    """``ended with code 1``, or the name of the signal that ended it and what that tells."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    tells = {
        "SIGKILL": " (the system does that when memory is short)",
        "SIGSEGV": " (compiled code crashed)",
        "SIGBUS": " (compiled code crashed, or a disk of the system is full)",
        "SIGABRT": " (compiled code gave up)",
    }
    return f"was ended by {name}{tells.get(name, '')}"
