"""Rounds of energy blocks on a CUDA device, and the rows of the record that they become.

They are rounds of their own, after the latency rounds of a process's first allocation: a block of
energy takes 5.5 s where one of latency takes a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from icd.contracts import Missing, Sample
from icd.measure.energy import Window, measure_idle, measure_window
from icd.measure.inflight import Clock, Launch
from icd.measure.meter import Meter, around


class PowerRow(NamedTuple):
    """A row of ``power.csv``: seconds since the process's idle power was taken, W."""

    process: int
    arm: str
    round: int
    time_s: float
    watts: float


@dataclass
class EnergyRecord:
    """What the energy blocks of one process gave; ``missing`` says why there are no figures."""

    samples: list[Sample] = field(default_factory=list)
    power: list[PowerRow] = field(default_factory=list)
    throttling: set[str] = field(default_factory=set)
    missing: str | None = None
    idle_watts: float | None = None
    began_s: float = 0.0


def begin(meter: Meter | Missing, clock: Clock) -> EnergyRecord:
    """The record of a process, with the power of the idle device; ``missing`` is set where none is read."""
    record = EnergyRecord(began_s=clock.now())
    idle = meter if isinstance(meter, Missing) else measure_idle(meter, clock)
    if isinstance(idle, Missing):
        record.missing = idle.reason
    else:
        record.idle_watts = idle.watts
    return record


def energy_rounds(
    record: EnergyRecord,
    meter: Meter,
    clock: Clock,
    launches: Mapping[str, Launch],
    orders: Sequence[Sequence[str]],
    *,
    forward_s: Mapping[str, float],
    sources: Mapping[str, str],
    process: int,
    first_round: int,
    sample_hz: float,
    done: Callable[[int], None],
) -> None:
    """Add one block of every arm a round to ``record``; stops at the first block that is Missing.

    ``launches[arm]`` queues iterations of the arm's step, ``forward_s[arm]`` is about how long one
    takes; ``orders`` names the arms of each round in their order. Rounds are numbered from
    ``first_round``, behind those of latency. ``done(round)`` is called between rounds.
    """
    if record.missing is not None:
        return
    for number, order in enumerate(orders):
        for position, arm in enumerate(order):
            before = meter.state()
            window = measure_window(
                meter, clock, launches[arm], forward_s=forward_s[arm], sample_hz=sample_hz
            )
            if isinstance(window, Missing):
                record.missing = f"{window.reason}, in a block of {arm}"
                record.samples.clear()
                return
            after = meter.state()
            row = Sample(
                arm, "", process, 0, first_round + number, position, 0, 0.0, "", sources[arm],
                *around(before, after),
            )  # fmt: skip
            record.samples += rows(row, window, record.idle_watts)
            record.throttling |= before.throttling | window.throttling | after.throttling
            record.power += [
                PowerRow(process, arm, first_round + number, t - record.began_s, w) for t, w in window.power
            ]
        done(number)


def rows(row: Sample, window: Window, idle_watts: float | None) -> list[Sample]:
    """The samples of one block: energy of a forward, power, the process's idle power, latency."""
    values = {
        "energy_j": (window.forward_j, "J"),
        "watts": (window.watts, "W"),
        "idle_watts": (idle_watts, "W"),
        "energy_block_ms": (1e3 * window.forward_s, "ms"),
    }
    return [
        row._replace(metric=metric, value=value, unit=unit)
        for metric, (value, unit) in values.items()
        if value is not None
    ]
