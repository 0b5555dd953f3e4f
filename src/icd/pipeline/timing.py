"""Latency of one allocation's steps: which rounds, in which order, and what ended them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from icd.contracts import Missing, Step
from icd.measure.adaptive import Adaptive
from icd.measure.cold import Flush
from icd.measure.environment import load_1min
from icd.measure.inflight import Clock, SystemClock
from icd.measure.latency import LatencyRecord, measure_rounds
from icd.measure.meter import Meter
from icd.stats import width
from icd.stats.design import cycle, rounds

if TYPE_CHECKING:
    from icd.measure.protocol import Protocol


@dataclass
class Timing:
    """The latency rounds of one process, allocation after allocation.

    ``stopped``: what ended each allocation (`icd.stats.width.allocation`); ``blocks``: its rounds and the
    iterations of a block, of cold ones as well; ``loads``: the machine's load at
    the start and after each round; ``throttling``, ``clocks_set``: as `icd.measure.latency.LatencyRecord`.
    """

    protocol: Protocol
    process: int
    device: str
    meter: Meter | None
    done: Callable[[int], None]
    clock: Clock = field(default_factory=SystemClock)
    stopped: list[dict[str, Any]] = field(default_factory=list)
    blocks: list[dict[str, Any]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    throttling: set[str] = field(default_factory=set)
    clocks_set: set[bool] = field(default_factory=set)
    spent_s: float = 0.0
    count: int = 0

    def __post_init__(self) -> None:
        self._look()

    def allocation(self, steps: Mapping[str, Step], number: int, seed: int) -> LatencyRecord:
        """The rounds of allocation ``number``; their orders follow from ``seed``."""
        names = list(steps)
        began = self.clock.now()
        left = (self.protocol.time_budget_s - self.spent_s) / (self.protocol.allocations - number)
        adaptive = self._adaptive(names, seed, left) if self.protocol.stop == "adaptive" else None
        fixed = [[names[i] for i in order] for order in rounds(len(names), self.protocol.rounds, seed)]
        record = measure_rounds(
            steps,
            adaptive.first() if adaptive else fixed,
            self.protocol,
            process=self.process,
            allocation=number,
            device=self.device,
            done=self._round_done,
            meter=self.meter,
            more=adaptive.more if adaptive else None,
        )
        self.spent_s += self.clock.now() - began
        self.throttling |= record.throttling
        self.clocks_set |= record.clocks_set
        criterion = adaptive.criterion if adaptive else "rounds"
        self._taken("latency_ms", number, record)
        self.stopped.append(width.allocation(number, criterion, record.samples, names))
        return record

    def cold(self, steps: Mapping[str, Step], seed: int) -> LatencyRecord | Missing:
        """``measure.cold_rounds`` rounds of ``steps`` with a flushed L2."""
        if not self.protocol.cold_rounds:
            return Missing("measure.cold_rounds=0")
        if not self.device.startswith("cuda"):
            return Missing("the device is a CPU: a cold cache is measured on a GPU")
        names = list(steps)
        record = measure_rounds(
            steps,
            [[names[i] for i in order] for order in rounds(len(names), self.protocol.cold_rounds, seed)],
            self.protocol,
            process=self.process,
            allocation=0,
            device=self.device,
            done=lambda number: self._look(),
            meter=self.meter,
            flush=Flush(self.device),
        )
        self._taken("latency_cold_ms", 0, record)
        self.throttling |= record.throttling
        self.clocks_set |= record.clocks_set
        return record

    def _adaptive(self, names: Sequence[str], seed: int, budget_s: float) -> Adaptive:
        return Adaptive(
            cycle=lambda k: [[names[i] for i in order] for order in cycle(len(names), k, seed)],
            at_least=self.protocol.rounds,
            width_pct=lambda samples: width.widest_pct(samples, names),
            target_pct=self.protocol.target_width_pct,
            budget_s=budget_s,
            clock=self.clock,
        )

    def _taken(self, metric: str, allocation: int, record: LatencyRecord) -> None:
        count = len({s.round for s in record.samples})
        self.blocks.append(
            {"metric": metric, "allocation": allocation, "rounds": count, "iterations": record.iterations}
        )

    def _round_done(self, number: int) -> None:
        self._look()
        self.done(self.count)
        self.count += 1

    def _look(self) -> None:
        load = load_1min()
        self.loads += [] if load is None else [load]

    def summary(self) -> dict[str, Any]:
        """What the process says of its latency rounds, for the record."""
        return {
            "stopped": width.process(self.process, self.stopped) if self.stopped else None,
            "blocks": self.blocks,
            "load_start": self.loads[0] if self.loads else None,
            "load_1min": max(self.loads, default=None),
            "clocks_set": any(self.clocks_set) if self.clocks_set else None,
        }
