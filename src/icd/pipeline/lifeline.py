"""A child process ends when its parent is gone, with all that it started, however the parent ended.

The parent holds one end of a pipe and never writes into it; the child holds the other. When the parent
dies, also by SIGKILL, the kernel closes its end. On Linux the kernel itself then kills the child's process
group (the pipe's owner is that group, and its signal SIGKILL), whatever the interpreter is busy with, and the
parent-death signal stands in where that fails; elsewhere a thread waits for the end of the pipe.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

VARIABLE = "ICD_LIFELINE"  # ``descriptor:parent's process id``, for the child alone
PR_SET_PDEATHSIG = 1
POLL_S = 0.5


@contextmanager
def lifeline() -> Iterator[tuple[int, dict[str, str]]]:
    """The descriptor that a child has to inherit, and the variable that tells it so."""
    read, write = os.pipe()
    try:
        yield read, {VARIABLE: f"{read}:{os.getpid()}"}
    finally:
        os.close(read)
        os.close(write)


def hold_on() -> None:
    """The child's side, before anything else: from here on it does not outlive its parent.

    It leads a session of its own, or belongs to that of a program that was started in its place (a profiler).
    """
    told = os.environ.pop(VARIABLE, "")
    if not told:
        return
    line, parent = map(int, told.split(":"))
    if not _is_pipe(line):  # a program in between closed it
        threading.Thread(target=_watch_process, args=(parent,), daemon=True).start()
        return
    os.set_inheritable(line, False)
    by_kernel = _killed_by_kernel(line, parent)
    try:
        threading.Thread(target=_watch_pipe, args=(line,), daemon=True).start()
    except RuntimeError:  # no memory for a thread
        if not by_kernel:
            raise


def end_after(parent: int) -> None:
    """End this process when ``parent``, which started it, is gone: for a worker that a launcher started."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _killed_by_kernel(line: int, parent: int) -> bool:
    """Ask Linux to kill the group when the pipe ends; False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        fcntl.fcntl(line, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(line, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(line, fcntl.F_SETFL, fcntl.fcntl(line, fcntl.F_GETFL) | fcntl.FASYNC)
    except (AttributeError, OSError):
        return _parent_death_signal(parent)
    _parent_death_signal(parent)
    return True


def _parent_death_signal(parent: int) -> bool:
    """SIGKILL when the thread that started this process ends; it waits for this process, so not before.

    Not below a profiler, whose threads come and go.
    """
    import ctypes

    if os.getppid() != parent:
        return False
    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
    return False


def _is_pipe(line: int) -> bool:
    with suppress(OSError):
        return stat.S_ISFIFO(os.fstat(line).st_mode)
    return False


def _watch_pipe(line: int) -> None:
    os.read(line, 1)  # nothing is ever written: it returns when the parent is gone, also if it went before
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _watch_process(parent: int) -> None:
    while _lives(parent):
        time.sleep(POLL_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
