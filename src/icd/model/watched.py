"""Work that writes files, given up when nothing is written any more.

Clients have timeouts of their own and try again after each, and a name that does not resolve has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def watched(work: Callable[[], T], grows: Path, silence_s: float) -> T:
    """The result of ``work``, or what it raised; TimeoutError once ``grows`` did not change for so long.

    A thread that is given up ends with the process.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    seen, since = _state(grows), time.monotonic()
    while True:
        thread.join(min(0.2, silence_s / 4))
        if failed:
            raise failed[0]
        if done:
            return done[0]
        now = _state(grows)
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > silence_s:
            raise TimeoutError(f"nothing was written for {silence_s:g} s")


def _state(folder: Path) -> list[tuple[str, int]]:
    """Name and size of every file below ``folder``; one that vanishes meanwhile is left out."""
    out = []
    for path in folder.rglob("*"):
        try:
            out.append((path.name, path.lstat().st_size))
        except FileNotFoundError:
            continue
    return sorted(out)
