"""Raw samples against the other raw files of the run, and against one another."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from icd.contracts import Sample
from icd.measure.energy import WINDOW_S
from icd.measure.power import PowerRow
from icd.pipeline.profiling import SUFFIX
from icd.pipeline.rollback import FOLDER
from icd.reading import read_text
from icd.samples import read_samples
from icd.tools.recheck.counters import counters, profiled
from icd.tools.recheck.designed import ENERGY, blocks, design, places
from icd.tools.recheck.plausible import clocks, copies, meters, repetitions
from icd.tools.recheck.recorded import Recorded, differ, read_json

UNIT = {
    "latency_ms": "ms",
    "wall_ms": "ms",
    "latency_cold_ms": "ms",
    "energy_block_ms": "ms",
    "energy_j": "J",
    "watts": "W",
    "idle_watts": "W",
    **{
        f"{name}{suffix}": unit
        for suffix in SUFFIX.values()
        for name, unit in (
            ("l2_served_pct", "%"),
            ("l2_lookup_hit_pct", "%"),
            ("dram_bytes_per_token", "B"),
        )
    },
}
SIMULATED = ("latency_ms", "energy_j", "l2_served_pct", "dram_bytes_per_token")
HZ, READ_OF_ALL = 10.0, 0.5  # readings of power a second, and the share of them that has to be there
EXACT = 1e-9  # relative; figures that one sum gives


def raw(run: Recorded) -> list[str]:
    """The run's own measurement, and the one before a rollback."""
    out = files(run, run.folder, run.metrics["arms"], run.samples, run.ncu, run.env["measured"])
    first = run.metrics["rollback"]["first"]
    if first is None:
        return out
    folder, processes = run.folder / FOLDER, run.env["measured_before_rollback"]
    old, ncu = read_samples(folder / "samples.csv.gz"), read_json(folder / "ncu.json")
    return out + [f"{FOLDER}/{problem}" for problem in files(run, folder, first["arms"], old, ncu, processes)]


def files(
    run: Recorded,
    folder: Path,
    arms: Mapping[str, Any],
    samples: Sequence[Sample],
    ncu: Mapping[str, Any],
    processes: Sequence[Mapping[str, Any]],
) -> list[str]:
    """One measurement's ``samples.csv.gz``, ``ncu.json`` and ``power.csv``.

    ``arms``: of its record; ``processes``: of env.json.
    """
    asked = 1 if run.simulated else run.lock["measure"]["processes"]
    timed = sorted({s.process for s in samples if s.metric == "latency_ms"})
    out = differ([len(processes), timed], [asked, list(range(asked))], "samples.csv.gz: processes")
    if out:
        return out  # of which everything else speaks by number
    sources = {name: arm["executed"]["source"] for name, arm in arms.items()}
    for s in samples:
        profiled_apart = s.metric.startswith(("l2_", "dram_"))
        if UNIT.get(s.metric) != s.unit or not (profiled_apart or s.source == sources.get(s.arm)):
            out.append(f"samples.csv.gz: {s.metric} of {s.arm}: unit {s.unit} or source {s.source}")
            break
        if any(v is not None and not (math.isfinite(v) and v >= 0) for v in s[-2:]):
            out.append(f"samples.csv.gz: {s.metric} of {s.arm}: clock or temperature {s[-2:]}")
            break
    out += places(run, processes)
    if run.simulated:
        out += computed(run, samples)
    else:
        out += design(run, samples, processes)
        out += blocks(samples, processes)
        out += [*copies(samples), *clocks(samples), *repetitions(ncu["runs"])]
    return [
        *out,
        *energy(samples),
        *counters(run, ncu, arms),
        *profiled(samples, ncu, run.metrics["inputs"]["tokens"]),
        *power(folder, samples, run.lock["measure"]["power_sample_hz"]),
    ]


def computed(run: Recorded, samples: Sequence[Sample]) -> list[str]:
    """Of a simulated device one figure of each metric, arm and allocation, in the order of the arms; and
    ``aa``, which executes what ``linear`` does, has the same.
    """
    names, allocations = list(run.metrics["arms"]), run.lock["measure"]["allocations"]
    found = [(s.metric, s.allocation, s.order, s.arm, s.process, s.round, s.iteration) for s in samples]
    kinds = sorted({s.metric for s in samples})
    again = [
        (metric, allocation, order, arm, 0, 0, 0)
        for metric in kinds
        for allocation in range(allocations)
        for order, arm in enumerate(names)
    ]
    out = [] if kinds == sorted(SIMULATED) else [f"samples.csv.gz: metrics: {', '.join(kinds)}"]
    if sorted(found) != again:
        out.append("samples.csv.gz: arms, allocations or their order are not those of the lock")
    values = {(s.arm, s.metric, s.allocation): s.value for s in samples}
    if {"linear", "aa"} <= set(names):
        out += [
            f"samples.csv.gz: {metric} of aa, allocation {allocation}: not that of linear, and both are one"
            for (arm, metric, allocation), value in values.items()
            if arm == "aa" and values.get(("linear", metric, allocation)) != value
        ]
    return out


def energy(samples: Sequence[Sample]) -> list[str]:
    """Energy of a forward = power x its seconds, in every block that was measured."""
    blocks: dict[tuple[Any, ...], dict[str, float]] = defaultdict(dict)
    for s in samples:
        if s.metric in ENERGY:
            blocks[s.arm, s.process, s.allocation, s.round][s.metric] = s.value
    out = []
    for (arm, process, _, number), block in blocks.items():
        if "energy_block_ms" not in block:
            continue
        again = block["watts"] * block["energy_block_ms"] / 1e3
        if not math.isclose(block["energy_j"], again, rel_tol=EXACT):
            out.append(
                f"samples.csv.gz: energy of {arm}, process {process}, round {number}: not power x time"
            )
    return out


def power(folder: Path, samples: Sequence[Sample], sample_hz: float) -> list[str]:
    """``power.csv`` reads the power of every block of energy, all along it, and of nothing else."""
    try:
        rows = list(csv.reader(io.StringIO(read_text(folder / "power.csv"), newline="")))
    except csv.Error as error:
        return [f"power.csv cannot be read: {error}"]
    if not rows or tuple(rows[0]) != PowerRow._fields:
        return [f"power.csv: expected the columns {', '.join(PowerRow._fields)}"]
    blocks = {(s.process, s.arm, s.round) for s in samples if s.metric == "watts" and s.source == "measured"}
    times: dict[tuple[int, str, int], list[float]] = defaultdict(list)
    watts: dict[tuple[int, str, int], list[float]] = defaultdict(list)
    for process, arm, number, time_s, read in rows[1:]:
        times[int(process), arm, int(number)].append(float(time_s))
        watts[int(process), arm, int(number)].append(float(read))
    values = [float(cell) for row in rows[1:] for cell in row[3:]]
    out = [] if all(math.isfinite(v) and v >= 0 for v in values) else ["power.csv: a reading is no figure"]
    # a process whose counter failed later keeps its readings and loses its figures
    whole = {process for process, _, _ in blocks}
    if any(block not in blocks for block in times if block[0] in whole):
        out.append("power.csv: readings of a block that has no energy")
    # readings may come late, and a host reads no faster than it can
    least = READ_OF_ALL * WINDOW_S * min(sample_hz, HZ)
    for block in sorted(blocks) if sample_hz else ():
        at = times[block]
        if len(at) < least or at != sorted(at) or at[-1] - at[0] < READ_OF_ALL * WINDOW_S:
            said = f"process {block[0]}, {block[1]}, round {block[2]}"
            out.append(f"power.csv: {said}: readings of its {WINDOW_S:g} s are missing")
    return out + meters(watts, samples)
