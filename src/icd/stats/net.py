"""Energy above idle: what the work itself draws, beside the gross figure that gates judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from icd.contracts import Sample

NET = "energy_net_j"


def net_energy(by_metric: Mapping[str, Sequence[Sample]]) -> list[Sample]:
    """``energy_net_j`` of every block whose power and idle power were measured: energy x (1 - idle / power).

    ``by_metric``: with ``energy_j`` (its unit stays), ``watts`` and ``idle_watts``, one sample a block each.
    A device that draws less than when it was idle gives a value of 0 or below, which is kept.
    """
    watts, idle = (
        {place(s): s.value for s in by_metric.get(metric, ())} for metric in ("watts", "idle_watts")
    )
    return [
        s._replace(metric=NET, value=s.value * (1.0 - idle[place(s)] / watts[place(s)]))
        for s in by_metric.get("energy_j", ())
        if place(s) in idle and watts.get(place(s), 0.0) > 0
    ]


def place(s: Sample) -> tuple[str, int, int, int, int]:
    """What the samples of one block share."""
    return s.arm, s.process, s.allocation, s.round, s.iteration
