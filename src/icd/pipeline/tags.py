"""Words that a reader must see beside every figure of a run; from its record, so that they can be checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from icd.pipeline.ran import parts_of, ran
from icd.pipeline.rollback import TAG
from icd.stats.rollback import HEADLINE

BUSY = 1.25  # load beyond so many times the machine's cores: somebody else wants them
SOURCED = ("latency_ms", "latency_cold_ms", "l2", "l2_cold", "energy")  # blocks of an arm that have a source


def tags(record: Mapping[str, Any], env: Mapping[str, Any]) -> list[str]:
    """The run's tags; ``record``: ``metrics.json`` as far as it goes, ``env``: ``env.json``."""
    seen = env["measured"]
    out = set(record["model"]["tags"])
    if record["model"]["weights"] == "random":
        out.add("random-weights")
    if record["model"]["weights"] == "unknown":
        out.add("unknown-weights")
    if any(arm[block]["source"] == "simulated" for arm in record["arms"].values() for block in SOURCED):
        out.add("simulated")
        if "simulated" not in record["model"]["tags"]:
            out.add("emulated")  # a precision that the device cannot execute
    if not all(ran(arm.get("executed", {}), parts_of(arm)) for arm in record["arms"].values()):
        out.add("precision-not-executed")
    if record["solver"]["time_limited"]:
        out.add("time-limited")
    if record["config"]["measure"] != "paper":
        out.add(f"measure-{record['config']['measure']}")
    if record["config"]["device"].startswith("cuda"):
        out |= clock_tags(seen)
    if any(process["throttling"] for process in seen):
        out.add("throttled")
    if any(process.get("other_processes") for process in seen):  # not in records of earlier versions
        out.add("shared-gpu")
    out |= {f"partial-{block}" for block in record["derivation"].get("partial", ())}
    if busy(env["cpu"], seen):
        out.add("busy")
    if record["rollback"]["triggered"]:
        out |= {"rolled-back", TAG}
    elif "iterative" in record["arms"] and not any(step["accepted"] for step in record["iterations"]):
        out.add("rolled-back")
    headline = record["compare"].get(HEADLINE, {}).get("latency", {}).get("verdict")
    if headline is not None and headline != "WIN":
        out.add("null-result" if headline in ("EQUIVALENT", "AMBIGUOUS") else "loss")
    return sorted(out)


def clock_tags(processes: Sequence[Mapping[str, Any]]) -> set[str]:
    """``unlocked`` when a process saw clocks that no setting held, ``clocks-unknown`` if it could not see."""
    held = [p["clocks_set"] for p in processes]
    if False in held:
        return {"unlocked"}
    return {"clocks-unknown"} if None in held else set()


def busy(cpu: Mapping[str, Any], processes: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the load, at the start of the run or around a round, was noticeably above the cores."""
    cores = cpu["machine_cores"]
    loads = [cpu["load_1min"], *(p["load_1min"] for p in processes)]
    known = [load for load in loads if load is not None]
    return bool(cores) and max(known, default=0.0) > BUSY * cores
