"""Energy of steps: the GPU's total energy counter over blocks of seconds, edges on the counter's steps.

The counter steps about 11 times a second, so a window must be long and begin and end where it steps:

    |-- 0.5 s dropped --|.. next step = first edge ....... >= 5 s and >= 50 steps ....... last edge|

    watts      = (counter at the last edge - counter at the first) / (time between the edges)
    energy_j   = watts x seconds of one forward, over the same window; gross: idle power is part of it

Work is queued in chunks of about 25 ms, two in flight, so that the device never waits for the host and
the counter can be polled while it works. Latency (``energy_block_ms``) and energy come from the same
iterations: those of the chunks that overlap the window. The meter, the host's clock and the way work is
queued are handed in: nothing here imports a framework.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from icd.contracts import Missing
from icd.measure.inflight import CHUNK_S, POLL_S, Clock, Launch, Work
from icd.measure.meter import Meter

DROP_S = 0.5
WINDOW_S = 5.0
STEPS = 50
IDLE_S = 2.0
IDLE_STEPS = 20
STUCK_S = 2.0  # a counter that has not stepped for so long does not move


class PowerSample(NamedTuple):
    """A reading of the power draw: monotonic seconds, W."""

    time_s: float
    watts: float


@dataclass(frozen=True)
class Window:
    """What a block gave: edges in s, energy between them in J, counter steps, and the work in between."""

    start_s: float
    end_s: float
    energy_j: float
    steps: int
    iterations: int
    seconds: float
    power: tuple[PowerSample, ...]
    throttling: frozenset[str]

    @property
    def watts(self) -> float:
        """Mean power between the edges."""
        return self.energy_j / (self.end_s - self.start_s)

    @property
    def forward_s(self) -> float:
        """Seconds of one forward; NaN for an idle window."""
        return self.seconds / self.iterations if self.iterations else math.nan

    @property
    def forward_j(self) -> float:
        """Gross energy of one forward in J; NaN for an idle window."""
        return self.watts * self.forward_s


@dataclass
class _Edges:
    """The counter as seen so far: first and last step inside the window, and when it last moved."""

    began: float
    last: int
    moved: float
    first: tuple[float, int] | None = None
    end: tuple[float, int] | None = None
    steps: int = 0

    def see(self, now: float, energy: int, drop_s: float) -> None:
        if energy == self.last:
            return
        self.last, self.moved = energy, now
        if self.first is not None:
            self.end, self.steps = (now, energy), self.steps + 1
        elif now - self.began >= drop_s:
            self.first = (now, energy)

    def long_enough(self, window_s: float, steps: int) -> bool:
        if self.first is None or self.end is None:
            return False
        return self.end[0] - self.first[0] >= window_s and self.steps >= steps


def measure_window(
    meter: Meter,
    clock: Clock,
    launch: Launch | None,
    *,
    forward_s: float = CHUNK_S,
    sample_hz: float = 10.0,
    drop_s: float = DROP_S,
    window_s: float = WINDOW_S,
    steps: int = STEPS,
) -> Window | Missing:
    """One block of an arm, or of nothing (``launch=None``: idle power).

    ``launch(n, before)`` queues n iterations behind the chunk ``before`` and returns;
    ``forward_s`` is about how long one takes.
    ``sample_hz``: how often power and throttling are read for the record; 0 for never. Missing where the
    counter cannot be read or does not move for 2 s: an energy of 0 is never returned.
    """
    work = Work(launch, max(1, round(CHUNK_S / max(forward_s, 1e-6))))
    power: list[PowerSample] = []
    reasons: frozenset[str] = frozenset()
    began = clock.now()
    first = meter.energy_mj()
    if isinstance(first, Missing):
        return first
    edges = _Edges(began, first, began)
    due = began
    problem = None
    while not edges.long_enough(window_s, steps):
        ahead = work.drive(clock)
        energy, now = meter.energy_mj(), clock.now()
        if isinstance(energy, Missing):
            problem = energy
            break
        edges.see(now, energy, drop_s)
        if now - edges.moved > STUCK_S:
            problem = Missing(f"the energy counter did not move for {STUCK_S:g} s")
            break
        if sample_hz > 0 and now >= due:
            due += 1.0 / sample_hz
            watts = meter.power_w()
            if not isinstance(watts, Missing):
                power.append(PowerSample(now, watts))
            reasons |= meter.state().throttling
        if ahead:
            clock.sleep(POLL_S)
    work.finish(clock)
    if problem is not None:
        return problem
    assert edges.first is not None and edges.end is not None
    (start, low), (end, high) = edges.first, edges.end
    if high <= low:
        return Missing(f"the energy counter went from {low} to {high} mJ")
    iterations, seconds = work.between(start, end)
    return Window(start, end, (high - low) / 1e3, edges.steps, iterations, seconds, tuple(power), reasons)


def measure_idle(meter: Meter, clock: Clock) -> Window | Missing:
    """Power while nothing is queued: 2 s and 20 counter steps, after half a second to settle."""
    return measure_window(meter, clock, None, sample_hz=0.0, window_s=IDLE_S, steps=IDLE_STEPS)


def counter_moves(meter: Meter, clock: Clock, within_s: float = 1.0) -> Missing | None:
    """None when the energy counter steps within ``within_s``, else why it does not."""
    began, first = clock.now(), meter.energy_mj()
    while not isinstance(first, Missing):
        energy = meter.energy_mj()
        if isinstance(energy, Missing) or energy != first:
            return energy if isinstance(energy, Missing) else None
        if clock.now() - began > within_s:
            return Missing(f"the energy counter did not move for {within_s:g} s")
        clock.sleep(POLL_S)
    return first
