"""SIGTERM and SIGHUP end a command as Ctrl-C does: what it made is tidied up, its children are ended."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LIKE_CTRL_C = ("SIGTERM", "SIGHUP")


class Interrupted(KeyboardInterrupt):
    """A signal other than Ctrl-C's came; its name is the text."""


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Inside the block those signals raise `Interrupted`, once; a signal that is ignored (nohup) stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [getattr(signal, name) for name in LIKE_CTRL_C if hasattr(signal, name)]
    ours = [number for number in ours if signal.getsignal(number) is signal.SIG_DFL]

    def interrupt(number: int, _: FrameType | None) -> None:
        for each in ours:  # what tidies up is not interrupted in its turn
            signal.signal(each, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    try:
        for number in ours:
            signal.signal(number, interrupt)
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
