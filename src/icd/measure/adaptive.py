"""Latency rounds until they are precise enough: whole balanced cycles, stopped on width or on time.

Stopping when an interval is narrow does not favour either arm, since its width says nothing of its sign;
stopping when it excludes zero would. Verdicts come from processes, and every process ends with whole
cycles of the balanced design, so each weighs the same whatever number of rounds it took.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from icd.contracts import Sample
from icd.measure.inflight import Clock
from icd.measure.latency import Orders


@dataclass
class Adaptive:
    """Hands `icd.measure.latency.measure_rounds` one cycle after the other.

    ``cycle(k)``: the arms of each round of the k-th balanced cycle; ``at_least``: rounds before the first
    look; ``width_pct(samples)``: the widest interval so far in %, None while there is none;
    ``budget_s``: seconds from now for this allocation, its warm-up included; a cycle that would end later
    is not begun, the first ones excepted. ``criterion``, once it has stopped: width or time_budget.
    """

    cycle: Callable[[int], Orders]
    at_least: int
    width_pct: Callable[[Sequence[Sample]], float | None]
    target_pct: float
    budget_s: float
    clock: Clock
    criterion: str = "time_budget"
    began: float = field(init=False)
    looked: float = field(init=False)
    cycles: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.began = self.looked = self.clock.now()

    def first(self) -> Orders:
        """As many whole cycles as hold ``at_least`` rounds."""
        out: list[Sequence[str]] = []
        while len(out) < self.at_least:
            out += self._next()
        return out

    def more(self, samples: Sequence[Sample]) -> Orders:
        """Another cycle, or none."""
        now = self.clock.now()
        took, self.looked = now - self.looked, now
        width = self.width_pct(samples)
        if width is not None and width <= self.target_pct:
            self.criterion = "width"
            return ()
        return self._next() if now - self.began + took <= self.budget_s else ()

    def _next(self) -> Orders:
        self.cycles += 1
        return self.cycle(self.cycles - 1)
