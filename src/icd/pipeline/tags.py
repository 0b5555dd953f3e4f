"""Words that a reader must see beside every figure of a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.pipeline.experiment import Experiment
from icd.pipeline.measurement import Measurement
from icd.pipeline.rollback import TAG

BUSY = 1.25  # load beyond so many times the machine's cores: somebody else wants them


def tags(
    experiment: Experiment,
    taken: Measurement,
    compare: Mapping[str, Any],
    decision: Mapping[str, Any],
    machine: Mapping[str, Any],
) -> list[str]:
    """The run's tags; ``decision``: of the rollback, ``machine``: ``env.json``."""
    facts = taken.prepared.facts
    out = set(facts["card"].tags)
    if facts["card"].weights == "random":
        out.add("random-weights")
    if any(s.source == "simulated" for s in taken.samples):
        out.add("simulated")
    if any(v.get("time_limited") for s in facts["solver"].values() for v in s.values()):
        out.add("time-limited")
    if experiment.measure.name != "paper":
        out.add(f"measure-{experiment.measure.name}")
    if facts["device"].startswith("cuda"):
        out |= clock_tags(taken)
    if any(p["throttling"] for p in taken.processes):
        out.add("throttled")
    if busy(machine, taken):
        out.add("busy")
    if decision["triggered"]:
        out |= {"rolled-back", TAG}
    elif "iterative" in facts["costs"] and not any(i["accepted"] for i in facts["iterations"]):
        out.add("rolled-back")
    headline = compare.get("iterative_vs_linear", {}).get("latency", {}).get("verdict")
    if headline is not None and headline != "WIN":
        out.add("null-result" if headline in ("EQUIVALENT", "AMBIGUOUS") else "loss")
    return sorted(out)


def clock_tags(taken: Measurement) -> set[str]:
    """``unlocked`` when a process saw clocks that no setting held, ``clocks-unknown`` if it could not see."""
    held = [p["clocks_set"] for p in taken.processes]
    if False in held:
        return {"unlocked"}
    return {"clocks-unknown"} if None in held else set()


def busy(machine: Mapping[str, Any], taken: Measurement) -> bool:
    """Whether the load, at the start of the run or around a round, was noticeably above the cores."""
    cores = machine["cpu"]["machine_cores"]
    loads = [machine["cpu"]["load_1min"], *(p["load_1min"] for p in taken.processes)]
    known = [load for load in loads if load is not None]
    return bool(cores) and max(known, default=0.0) > BUSY * cores
