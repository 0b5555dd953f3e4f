"""Samples for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from icd.contracts import Sample

UNITS = {
    "latency_ms": "ms",
    "energy_j": "J/token",
    "l2_served_pct": "%",
    "l2_lookup_hit_pct": "%",
    "dram_bytes_per_token": "B",
    "watts": "W",
    "idle_watts": "W",
}


def sample(arm: str = "linear", value: float = 1.0, metric: str = "latency_ms", **fields: object) -> Sample:
    base = {"process": 0, "allocation": 0, "round": 0, "order": 0, "iteration": 0}
    known = {"unit": UNITS.get(metric, "?"), "source": "measured"}
    return Sample(arm=arm, metric=metric, value=value, **{**base, **known, **fields})  # type: ignore[arg-type]


def experiment(
    arms: Mapping[str, Callable[[int, int, int], float]],
    *,
    metric: str = "latency_ms",
    processes: int = 5,
    allocations: int = 2,
    rounds: int = 3,
    iterations: int = 3,
    **fields: object,
) -> list[Sample]:
    """Samples of a full design; ``arms[arm](process, allocation, round)`` is a block's value."""
    return [
        sample(arm, value(p, a, r), metric, process=p, allocation=a, round=r, order=o, iteration=i, **fields)
        for p in range(processes)
        for a in range(allocations)
        for r in range(rounds)
        for o, (arm, value) in enumerate(arms.items())
        for i in range(iterations)
    ]


def by_process(*values: float) -> Callable[[int, int, int], float]:
    """A block value that depends on the process alone."""
    return lambda process, allocation, round_: values[process % len(values)]
