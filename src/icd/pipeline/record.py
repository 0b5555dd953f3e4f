"""From prepared facts and raw samples to ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from icd.pipeline import rollback
from icd.pipeline.computed import break_even, computed, count_tiles, site_table
from icd.pipeline.experiment import Experiment
from icd.pipeline.layouts import total_cost
from icd.pipeline.measurement import Measurement
from icd.pipeline.profiling import LAUNCHES, SUFFIX, L2Record
from icd.pipeline.tags import tags
from icd.stats.derive import derive
from icd.stats.roofline import roofline
from icd.stats.wall import wall_check

SCHEMA = "icd.metrics/1"
L2_METRICS = tuple(
    metric + suffix
    for metric in ("l2_served_pct", "l2_lookup_hit_pct", "dram_bytes_per_token")
    for suffix in SUFFIX.values()
)
ENERGY_METRICS = ("energy_j", "watts", "idle_watts")


def figures(taken: Measurement) -> dict[str, Any]:
    """``{arms, compare, settings, hardware}`` of one measurement; ``settings`` are those of `derive`."""
    facts = taken.prepared.facts
    settings = {
        "device": facts["device"],
        "tokens": facts["tokens"],
        "l2_metric": "l2_served_pct",
        "regime": "warm",
        "reasons": missing_reasons(taken.processes, taken.l2),
    }
    derived = derive(taken.samples, [arm.name for arm in taken.prepared.arms], **settings)
    arms = _arms(taken, derived["arms"])
    compare = {name: {**block, **computed(name, arms)} for name, block in derived["compare"].items()}
    hardware = taken.processes[0]["hardware"]
    return {"arms": arms, "compare": compare, "settings": settings, "hardware": hardware}


def _arms(taken: Measurement, derived: Mapping[str, Any]) -> dict[str, Any]:
    """Every arm: its measured figures, quality, cost, tiles, and what was executed and checked."""
    facts, first = taken.prepared.facts, taken.processes[0]
    costs = {name: total_cost(sites) for name, sites in facts["costs"].items()}
    out: dict[str, Any] = {}
    for arm in taken.prepared.arms:
        executed = first["executed"][arm.name]
        check = max((p["checks"][arm.name] for p in taken.processes), key=lambda c: c["max_rel_err"])
        cost = costs.get(arm.name) or (costs.get("dense") if arm.values == "dense" else None)
        out[arm.name] = {
            **derived[arm.name],
            "quality": first["quality"].get(arm.name)
            or {"metric": None, "value": None, "source": None, "reason": "not evaluated"},
            "cost": {k: cost[k] for k in ("C", "Q", "J")}
            if cost
            else {"C": None, "Q": None, "J": None, "reason": "the layout differs in every allocation"},
            "tiles": count_tiles(executed["sites"], facts["sites"]),
            "engine": executed["engine"],
            "executed": executed,
            "engine_check": check,
            "roofline": roofline(first["work"][arm.name], first["hardware"], derived[arm.name]["latency_ms"]),
        }
    return out


def build_metrics(
    experiment: Experiment,
    taken: Measurement,
    found: Mapping[str, Any],
    *,
    decision: Mapping[str, Any],
    first: Measurement | None,
    machine: Mapping[str, Any],
    run_id: str,
    created: str,
) -> dict[str, Any]:
    """``metrics.json`` without its gates; ``found`` are the `figures` of ``taken``.

    ``decision``: whether the layout was rolled back (`icd.stats.rollback.decide`), ``first``: the
    measurement that said so; ``machine``: ``env.json``.
    """
    facts = taken.prepared.facts
    card = facts["card"]
    limited = [n for s in facts["solver"].values() for n, v in s.items() if v.get("time_limited")]
    before = figures(first) if first else None
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "created": created,
        "model": {
            "name": card.name,
            "family": card.family,
            "params": card.params,
            "weights": card.weights,
            "source": card.source,
            "sha256": card.sha256,
            "licence": card.licence,
            "notice": facts["notice"],
        },
        "config": configuration(experiment, facts),
        "hardware": found["hardware"],
        "arms": found["arms"],
        "compare": found["compare"],
        "equivalence": facts["equivalence"],
        "iterations": facts["iterations"],
        "rollback": rollback.block(
            decision, before, first.samples if first else (), found["compare"], limited
        ),
        "solver": {
            "seconds": facts["solver_seconds"],
            "cache_hits": sum(v.get("cache") == "hit" for s in facts["solver"].values() for v in s.values()),
            **break_even(facts["solver_seconds"], found["arms"]),
            "time_limited": limited,
            "timeouts": [n for s in facts["solver"].values() for n, v in s.items() if v.get("timeout")],
        },
        "transform": facts["transform"],
        "static_scales": static_scales(facts["static_scales"]),
        "sites": site_table(facts),
        "bridge": {"value": None, "reason": "bridge=none"},
        "protocol": protocol(experiment, taken),
        "derivation": {**found["settings"], "objective": asdict(experiment.solver.objective)},
        "inputs": {
            "shape": facts["input_shape"],
            "sha256": facts["input_sha256"],
            "tokens": facts["tokens"],
            "calibration_tokens": facts["calibration_tokens"],
            "texts": facts["texts"],
        },
        "tags": tags(experiment, taken, found["compare"], decision, machine),
    }


def configuration(experiment: Experiment, facts: Mapping[str, Any]) -> dict[str, Any]:
    """``config``: the choices that a reader compares runs by."""
    batch, tokens = next(iter(facts["input_shape"].values()))[0], facts["tokens"]

    def chosen(group: str) -> str:
        return str(experiment.lock[group]["_target_"]).rpartition(".")[2].lower()

    return {
        "pipeline": experiment.pipeline.name,
        "transform": chosen("transform"),
        "sparsity": experiment.sparsity,
        "precision": facts["precision"],
        "seq_len": tokens // batch,
        "batch_size": batch,
        "device": facts["device"],
        "seed": experiment.seed,
        "measure": experiment.measure.name,
        "engine": chosen("runtime"),
        "solver": chosen("solver"),
    }


def protocol(experiment: Experiment, taken: Measurement) -> dict[str, Any]:
    """How it was measured, what ended each process, and the cross-check of the clocks."""
    wall = wall_check(taken.samples)
    return {
        "processes": len(taken.processes),
        "allocations": experiment.measure.allocations,
        "rounds": experiment.measure.rounds,
        "unit": "process mean of log ratios",
        "stop": experiment.measure.stop,
        "stopped": [p["stopped"] for p in taken.processes if p["stopped"]],
        "energy": {
            "rounds": len({s.round for s in taken.samples if s.metric == "watts"}),
            "note": "rounds of their own behind the latency rounds of each process's first allocation; "
            "gross: idle power is part of it",
        },
        "l2": {
            "repetitions": len({s.process for s in taken.l2.samples}),
            "regimes": list(SUFFIX),
            "launches": LAUNCHES,
            "note": "a repetition is a process under ncu with fresh copies of all arms; "
            "its launches are averaged",
        },
        "wall": {
            "vs_events_pct": wall,
            "reason": None if wall else "no device was timed by its own events",
        },
    }


def missing_reasons(processes: Sequence[Mapping[str, Any]], l2: L2Record) -> dict[str, str]:
    """Why a metric has no sample, in the words of the backend that was to read it."""
    energy, cold = (next((p[k] for p in processes if p[k]), None) for k in ("no_energy", "no_cold"))
    return {
        **(dict.fromkeys(L2_METRICS, l2.missing) if l2.missing else {}),
        **(dict.fromkeys(ENERGY_METRICS, energy) if energy else {}),
        **({"latency_cold_ms": cold} if cold else {}),
    }


def static_scales(amax: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The largest calibrated input of every linear layer, for each set of values."""
    return dict(amax) or {"value": None, "reason": "input scales are dynamic, or the precision has none"}
