"""Readings of one thing by two instruments agree, and no two measurements give the same readings."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from icd.contracts import Sample
from icd.measure.gpu_figures import peaks
from icd.tools.recheck.recorded import Recorded, differ

METERS = (
    0.1  # relative; on an H200 the median of sampled power is within 0.5 % of what the energy counter says
)
CLOCKS = 0.99  # of the time between a device's own events, that the host's clock shows at least
OF_ONE_ARM, OF_ALL = 10, 3  # different values that cannot be the same twice by chance


def copies(samples: Iterable[Sample]) -> list[str]:
    """Timed values that an allocation has in common with another, whole or of one arm."""
    found: dict[str, dict[tuple[int, int], dict[tuple[Any, ...], float]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for s in samples:
        if s.metric in ("latency_ms", "energy_j"):
            for of in (f"{s.metric} of {s.arm}", s.metric):
                found[of][s.process, s.allocation][s.arm, s.round, s.iteration] = s.value
    out = []
    for of, places in found.items():
        least = OF_ONE_ARM if " of " in of else OF_ALL
        for (a, first), (b, second) in combinations(places.items(), 2):
            if first == second and len(set(first.values())) >= least:
                said = " and ".join(f"process {p}, allocation {k}" for p, k in (a, b))
                out.append(f"samples.csv.gz: {of}: {said} have the same values")
    return out


def repetitions(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Repetitions of ncu.json that counted the same in every launch of every arm."""
    found: dict[int, list[str]] = defaultdict(list)
    for entry in runs:
        counted = [entry["arm"], entry["regime"], [launch["profiled"] for launch in entry["launches"]]]
        found[entry["repetition"]].append(json.dumps(counted, sort_keys=True))
    return [
        f"ncu.json: repetitions {a} and {b} counted the same in every launch"
        for a, b in combinations(sorted(found), 2)
        if sorted(found[a]) == sorted(found[b])
    ]


def clocks(samples: Sequence[Sample]) -> list[str]:
    """Blocks that took less by the host's clock than their iterations by the device's events."""
    events: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for s in samples:
        if s.metric == "latency_ms":
            events[s.arm, s.process, s.allocation, s.round].append(s.value)
    return [
        f"samples.csv.gz: process {s.process}, allocation {s.allocation}, round {s.round}, {s.arm}: shorter "
        "by the host's clock than by the device's"
        for s in samples
        if s.metric == "wall_ms"
        and s.value < CLOCKS * statistics.fmean(events[s.arm, s.process, s.allocation, s.round])
    ]


def meters(readings: Mapping[tuple[int, str, int], Sequence[float]], samples: Iterable[Sample]) -> list[str]:
    """Blocks whose power by the energy counter is not what was read all along; ``readings``: of power.csv, by
    process, arm and round.
    """
    out = []
    for s in samples:
        read = readings.get((s.process, s.arm, s.round)) if s.metric == "watts" else None
        if read and abs(statistics.median(read) / s.value - 1) > METERS:
            out.append(
                f"power.csv: process {s.process}, {s.arm}, round {s.round}: {statistics.median(read):.4g} W, "
                f"and {s.value:.4g} by the energy counter"
            )
    return out


def device(run: Recorded) -> list[str]:
    """Every process ran on the device whose figures are recorded; its peaks follow from its clocks, and its
    highest clock is that of one of the machine's.
    """
    hardware, out = run.metrics["hardware"], []
    if hardware.get("kind") != "gpu" or hardware.get("source") != "read":
        return []
    for number, process in enumerate(run.env["measured"]):
        keys = [key for key in ("name", "sm_count", "l2_bytes") if key in process]
        again = {key: hardware[key] for key in keys}
        out += differ({key: process[key] for key in keys}, again, f"env.json: device of process {number}")
    there = (run.env.get("gpu") or {}).get("devices") or ()
    if there and hardware["sm_clock_mhz"] not in [card["max_sm_clock_mhz"] for card in there]:
        out.append(f"hardware.sm_clock_mhz: {hardware['sm_clock_mhz']} is of no device in env.json")
    again = {key: value for key, value in peaks(hardware).items() if hardware[key] is not None}
    return out + differ({key: hardware[key] for key in again}, again, "hardware")
