"""What a person sees while a run goes on: progress bars on a terminal, nothing but results without one.

Nothing refreshes by itself: the parent draws when an event arrives and sleeps in between, so that it
takes no core from what is being timed.
"""

from __future__ import annotations

import sys
import time
from typing import Any


class Console:
    """Progress on standard error, results on standard output."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.tasks: dict[str, Any] = {}
        self.prefix = ""
        self.started = time.perf_counter()
        if sys.stderr.isatty():
            from rich.console import Console as Rich
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Rich(stderr=True),
                auto_refresh=False,
                transient=True,
            )
            self.bar.start()

    def process(self, number: int, count: int) -> None:
        """A measuring process starts."""
        self.prefix = f"process {number + 1} of {count}: "

    def hear(self, event: dict[str, Any]) -> None:
        """Draw an event of a child; a notice is printed with and without a terminal."""
        if event["event"] == "notice":
            print(f"icd: {event['message']}", file=sys.stderr, flush=True)
            return
        if self.bar is None:
            return
        if event["event"] == "stage":
            self.bar.console.print(f"[dim]{event.get('message', event['what'])}[/dim]")
        elif event["event"] == "progress":
            name = (self.prefix if event["what"].startswith("measuring") else "") + event["what"]
            if name not in self.tasks:
                self.tasks[name] = self.bar.add_task(name, total=event["total"])
            self.bar.update(self.tasks[name], completed=event["done"], total=event["total"])
        self.bar.refresh()

    def say(self, line: str) -> None:
        """One line of result."""
        print(line, flush=True)

    def close(self) -> None:
        """Take the bars away."""
        if self.bar is not None:
            self.bar.stop()
