"""Raw samples against the design they were taken by: which arms, in which order, how many iterations."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from icd.contracts import Sample
from icd.stats.design import building, cycle_length, rounds, seed_of
from icd.stats.width import widest_pct
from icd.tools.recheck.recorded import Recorded, differ

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
    out += cycles(run, samples, len(names))
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
        if any(block != list(range(length)) for block in blocks) or not length:
            out.append(
                f"samples.csv.gz: {metric} of process {where[0]}, allocation {where[1]}: blocks differ"
            )
    return out


def orders(
    run: Recorded, samples: Sequence[Sample], names: Sequence[str]
) -> Iterator[tuple[Place, list[int]]]:
    """The order of the arms of every round that the protocol asked for."""
    measure, seed = run.lock["measure"], run.lock["seed"]
    taken = rounds_taken(samples)
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


def places(run: Recorded, processes: Sequence[Mapping[str, Any]]) -> list[str]:
    """The arms were built in the balanced order. Where no process tells of any, all built them as they stand,
    which the report says; where some do, all must.
    """
    names, allocations = list(run.metrics["arms"]), run.lock["measure"]["allocations"]
    if not any("built" in process for process in processes):
        return []
    out = []
    for number, process in enumerate(processes):
        orders = (building(len(names), number, k, run.lock["seed"]) for k in range(allocations))
        again = [[names[i] for i in order] for order in orders]
        out += differ(process.get("built"), again, f"env.json: built of process {number}")
    return out


def rounds_taken(samples: Iterable[Sample]) -> dict[tuple[int, int], int]:
    """Rounds of latency by process and allocation; 0 where there are none."""
    taken: dict[tuple[int, int], int] = defaultdict(int)
    for s in samples:
        if s.metric == "latency_ms":
            taken[s.process, s.allocation] = max(taken[s.process, s.allocation], s.round + 1)
    return taken


def cycles(run: Recorded, samples: Sequence[Sample], n_arms: int) -> list[str]:
    """An adaptive stop takes whole balanced cycles, no fewer rounds than were asked for, and none behind one
    that was precise enough.
    """
    measure, names = run.lock["measure"], list(run.metrics["arms"])
    if measure["stop"] == "fixed":
        return []
    taken, one, out = rounds_taken(samples), cycle_length(n_arms), []
    for place in product(range(measure["processes"]), range(measure["allocations"])):
        where = f"samples.csv.gz: process {place[0]}, allocation {place[1]}: {taken[place]} rounds"
        first = math.ceil(measure["rounds"] / one) * one
        if taken[place] < first or taken[place] % one:
            out.append(f"{where}; an adaptive stop takes whole cycles of {one}, {first} rounds at least")
        mine = medians(s for s in samples if s.metric == "latency_ms" and (s.process, s.allocation) == place)
        for look in range(first, taken[place], one):
            width = widest_pct([s for s in mine if s.round < look], names, run.of_times)
            if width is not None and width <= measure["target_width_pct"]:
                out.append(f"{where}; {look} of them were precise enough, and it would have stopped")
    return out


def medians(samples: Iterable[Sample]) -> list[Sample]:
    """One sample a block of one allocation: the block's value, of which statistics are made."""
    found: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for s in samples:
        found[s.arm, s.round].append(s)
    return [
        block[0]._replace(iteration=0, value=statistics.median(s.value for s in block))
        for block in found.values()
    ]


def blocks(samples: Iterable[Sample], processes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rounds and iterations of a block are what each process said in env.json."""
    found: dict[tuple[int, str, int], list[int]] = defaultdict(lambda: [0, 0])
    for s in samples:
        if s.metric in ("latency_ms", "latency_cold_ms"):
            most = found[s.process, s.metric, s.allocation]
            most[:] = max(most[0], s.round + 1), max(most[1], s.iteration + 1)
    out = []
    for number, process in enumerate(processes):
        if "blocks" not in process:
            out.append(f"env.json: process {number} does not say its blocks")
            continue
        again = [
            {"metric": metric, "allocation": allocation, "rounds": most[0], "iterations": most[1]}
            for (at, metric, allocation), most in sorted(found.items())
            if at == number
        ]
        told = sorted(process["blocks"], key=lambda block: (block["metric"], block["allocation"]))
        out += differ(told, again, f"env.json: blocks of process {number}")
    return out


def _said(place: Place) -> str:
    metric, process, allocation, number = place
    return f"{metric} of process {process}, allocation {allocation}, round {number}"
