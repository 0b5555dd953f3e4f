"""Work in flight: chunks of iterations queued on a device ahead of time, so that it never waits for the host.

The host's clock stands here too, as something that is handed in: a test brings its own time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from icd.contracts import Step

if TYPE_CHECKING:
    import torch

CHUNK_S = 0.025
IN_FLIGHT = 2
POLL_S = 0.001


class Clock(Protocol):
    """The host's time."""

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let others work for about so long."""
        ...


@dataclass(frozen=True)
class SystemClock:
    """The host's monotonic clock."""

    def now(self) -> float:
        """Seconds."""
        return time.perf_counter()

    def sleep(self, seconds: float) -> None:
        """Give the core away."""
        time.sleep(seconds)


class Chunk(Protocol):
    """So many iterations that were queued together."""

    @property
    def iterations(self) -> int:
        """How many."""
        ...

    def done(self) -> bool:
        """Whether the device has finished them."""
        ...

    def seconds(self) -> float:
        """From the end of the chunk before it (its own start, if it is the first) to its end, on the device.

        Pauses in which the device waited for the host count. Only after `done`.
        """
        ...


Launch = Callable[[int, Chunk | None], Chunk]  # (iterations, the chunk queued before) -> queued


@dataclass
class Work:
    """Chunks in flight, and those that are done with the time at which each began and ended."""

    launch: Launch | None
    iterations: int
    last: Chunk | None = None
    flying: deque[Chunk] = field(default_factory=deque)
    done: list[tuple[float, float, Chunk]] = field(default_factory=list)

    def drive(self, clock: Clock) -> bool:
        """Keep the queue filled; False when it had run dry, so that there is no time to sleep."""
        if self.launch is None:
            return True
        while self.flying and self.flying[0].done():
            self._land(clock)
        ahead = bool(self.flying)
        while len(self.flying) < IN_FLIGHT:
            self.last = self.launch(self.iterations, self.last)
            self.flying.append(self.last)
        return ahead

    def finish(self, clock: Clock) -> None:
        """Wait for what is still in flight."""
        while self.flying:
            if self.flying[0].done():
                self._land(clock)
            else:
                clock.sleep(POLL_S)

    def _land(self, clock: Clock) -> None:
        chunk = self.flying.popleft()
        now = clock.now()
        self.done.append((self.done[-1][1] if self.done else now - chunk.seconds(), now, chunk))

    def between(self, start: float, end: float) -> tuple[int, float]:
        """Iterations and seconds of the chunks that overlap the window."""
        inside = [chunk for begin, stop, chunk in self.done if stop > start and begin < end]
        return sum(c.iterations for c in inside), sum(c.seconds() for c in inside)


@dataclass(frozen=True)
class CudaChunk:
    """Iterations between two CUDA events of the current stream."""

    iterations: int
    start: torch.cuda.Event
    end: torch.cuda.Event

    def done(self) -> bool:
        """Whether the device has finished it."""
        return bool(self.end.query())

    def seconds(self) -> float:
        """Between the events; ``start`` is the ``end`` of the chunk before, if there is one."""
        return float(self.start.elapsed_time(self.end)) / 1e3


@dataclass(frozen=True)
class CudaQueue:
    """Queues chunks of one step on the current stream."""

    step: Step

    def launch(self, iterations: int, before: Chunk | None) -> Chunk:
        """Queue ``iterations`` calls, and an event behind them."""
        import torch

        end = torch.cuda.Event(enable_timing=True)
        if isinstance(before, CudaChunk):
            start = before.end
        else:
            start = torch.cuda.Event(enable_timing=True)
            start.record()
        for _ in range(iterations):
            self.step()
        end.record()
        return CudaChunk(iterations, start, end)
