"""Raw samples against the design they were taken by: which arms, in which order, how many iterations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from icd.contracts import Sample
from icd.stats.design import rounds, seed_of
from icd.tools.recheck.recorded import Recorded

TIMED = ("latency_ms", "wall_ms")
ENERGY = ("energy_j", "watts", "idle_watts", "energy_block_ms")

Place = tuple[str, int, int, int]  # metric, process, allocation, round


def design(run: Recorded, samples: Sequence[Sample], processes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every round holds one block of every arm, in the balanced order that the seed gives, of as many
    iterations as the others; none is missing, unless its process (of env.json) says why.
    """
    names = list(run.metrics["arms"])
    found: dict[Place, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    count: dict[tuple[Place, str], list[int]] = defaultdict(list)
    for s in samples:
        place = (s.metric, s.process, s.allocation, s.round)
        found[place][s.arm].add(s.order)
        count[place, s.arm].append(s.iteration)
    out = []
    # metric that must be there -> where a process says why it has none
    told = {"latency_ms": "", "energy_j": "no_energy", "watts": "no_energy", "latency_cold_ms": "no_cold"}
    expected = dict(orders(run, samples, names))
    for place, arms in found.items():
        if place[0] not in {metric for metric, *_ in expected}:
            continue
        order = [[names.index(arm), *sorted(at)] for arm, at in arms.items() if arm in names]
        again = [[arm, at] for at, arm in enumerate(expected.get(place, ()))]
        if sorted(order) != sorted(again):
            out.append(f"samples.csv.gz: {_said(place)}: arms or their order are not those of the design")
    out += [
        f"samples.csv.gz: {_said(place)} is missing"
        for place in expected
        if place not in found and place[0] in told and processes[place[1]].get(told[place[0]]) is None
    ]
    repeats = run.lock["measure"]["repeats"]
    out += [
        f"samples.csv.gz: {_said(place)}, {arm}: one block of energy has one sample of each metric"
        for (place, arm), block in count.items()
        if place[0] in ENERGY and not run.simulated and block != [0]
    ]
    for metric, where in {
        ((place[0]), place[1:3]) for place, _ in count if place[0] in ("latency_ms", "latency_cold_ms")
    }:
        blocks = [sorted(i) for (place, _), i in count.items() if (place[0], place[1:3]) == (metric, where)]
        length = len(blocks[0]) if repeats == "auto" else repeats
        if any(block != list(range(length)) for block in blocks):
            out.append(
                f"samples.csv.gz: {metric} of process {where[0]}, allocation {where[1]}: blocks differ"
            )
    return out


def orders(
    run: Recorded, samples: Sequence[Sample], names: Sequence[str]
) -> Iterator[tuple[Place, list[int]]]:
    """The order of the arms of every round that the protocol asked for."""
    measure, seed = run.lock["measure"], run.lock["seed"]
    taken: dict[tuple[int, int], int] = defaultdict(int)
    for s in samples:
        if s.metric == "latency_ms":
            taken[s.process, s.allocation] = max(taken[s.process, s.allocation], s.round + 1)
    for process in range(measure["processes"]):
        for allocation in range(measure["allocations"]):
            count = measure["rounds"] if measure["stop"] == "fixed" else taken[process, allocation]
            for number, order in enumerate(rounds(len(names), count, seed_of(seed, process, allocation))):
                for metric in TIMED:
                    yield (metric, process, allocation, number), order
        last = seed_of(seed, process, measure["allocations"])
        for number, order in enumerate(rounds(len(names), measure["cold_rounds"], last)):
            yield ("latency_cold_ms", process, 0, number), order
        for number, order in enumerate(rounds(len(names), measure["power_rounds"], last)):
            for metric in ENERGY:
                yield (metric, process, 0, taken[process, 0] + number), order


def _said(place: Place) -> str:
    metric, process, allocation, number = place
    return f"{metric} of process {process}, allocation {allocation}, round {number}"
