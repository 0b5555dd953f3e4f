"""From prepared facts and raw samples to ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from icd.choices import published
from icd.contracts import Sample
from icd.pipeline import rollback
from icd.pipeline.computed import arm_block, arm_cost, computed
from icd.pipeline.experiment import Experiment
from icd.pipeline.measurement import Measurement
from icd.pipeline.partial import partial
from icd.pipeline.profiling import LAUNCHES, SUFFIX
from icd.pipeline.solved import site_table, solver_block, total_cost
from icd.pipeline.tags import tags
from icd.stats.derive import derive
from icd.stats.gates import name_in_record
from icd.stats.summary import OF_TIMES, Summary
from icd.stats.wall import wall_check

SCHEMA = "icd.metrics/1"
REGIME = "warm"  # of the cache figure that is compared and gated
L2_METRICS = tuple(
    metric + suffix
    for metric in ("l2_served_pct", "l2_lookup_hit_pct", "dram_bytes_per_token")
    for suffix in SUFFIX.values()
)
UNIT: dict[Summary, str] = {
    "median": "process median of log ratios of times; mean of energy, L2 and DRAM",
    "mean": "process mean of log ratios",
}
ENERGY_METRICS = ("energy_j", "energy_net_j", "watts", "idle_watts")


def figures(taken: Measurement, l2_compared: str) -> dict[str, Any]:
    """``{arms, compare, settings, hardware}`` of one measurement; ``settings`` are those of `derive`.

    ``l2_compared``: of `icd.measure.protocol.Protocol`.
    """
    facts = taken.prepared.facts
    settings = {
        "device": facts["device"],
        "tokens": facts["tokens"],
        "l2_metric": l2_metric(l2_compared),
        "regime": REGIME,
        "summary": OF_TIMES,
        "reasons": missing_reasons(taken.processes, taken.l2.missing),
        **partial(
            taken.processes, (run["repetition"] for run in taken.l2.runs), taken.l2.asked, taken.l2.missing
        ),
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
    nothing = {"metric": None, "value": None, "source": None, "reason": "not evaluated"}
    return {
        arm.name: arm_block(
            derived[arm.name],
            quality=first["quality"].get(arm.name) or nothing,
            cost=arm_cost(costs, arm.name),
            executed=first["executed"][arm.name],
            check=max((p["checks"][arm.name] for p in taken.processes), key=lambda c: c["max_rel_err"]),
            parts=first["work"][arm.name],
            hardware=first["hardware"],
            sites=facts["sites"],
        )
        for arm in taken.prepared.arms
    }


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
    before = figures(first, experiment.measure.l2_compared) if first else None
    sites = site_table(facts)
    solver = solver_block(sites, facts["iterations"], found["arms"])
    inputs = {
        "shape": facts["input_shape"],
        "batch": facts["batch"],
        "sha256": facts["input_sha256"],
        "tokens": facts["tokens"],
        "calibration_tokens": facts["calibration_tokens"],
        "texts": facts["texts"],
    }
    record = {
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
            "tags": list(card.tags),
        },
        "config": configuration(experiment.lock, inputs, facts["precision"], facts["device"]),
        "hardware": found["hardware"],
        "arms": found["arms"],
        "compare": found["compare"],
        "equivalence": facts["equivalence"],
        "iterations": facts["iterations"],
        "rollback": rollback.block(
            decision, before, first.samples if first else (), found["compare"], solver["time_limited"]
        ),
        "solver": solver,
        "transform": facts["transform"],
        "static_scales": static_scales(facts["static_scales"]),
        "sites": sites,
        "bridge": {"value": None, "reason": "bridge=none"},
        "protocol": protocol(
            experiment.lock["measure"],
            taken.samples,
            [p["stopped"] for p in taken.processes if p["stopped"]],
            taken.l2.runs,
        ),
        "derivation": {**found["settings"], "objective": asdict(experiment.solver.objective)},
        "inputs": inputs,
    }
    return {**record, "tags": tags(record, {**machine, "measured": taken.environment()})}


def configuration(
    lock: Mapping[str, Any], inputs: Mapping[str, Any], precision: str, device: str
) -> dict[str, Any]:
    """``config``: the choices that a reader compares runs by; ``lock``: the resolved configuration.

    ``seq_len`` is null where the tokens are no multiple of the batch.
    """
    # records of earlier versions have no batch: there it was the first dimension of the first input
    batch = inputs.get("batch") or next(iter(inputs["shape"].values()))[0]
    tokens = inputs["tokens"]

    def chosen(group: str) -> str:
        return str(lock[group]["_target_"]).rpartition(".")[2].lower()

    return {
        "pipeline": lock["pipeline"]["name"],
        "transform": "none" if chosen("transform") == "nothing" else chosen("transform"),
        "sparsity": lock["transform"].get("sparsity"),  # some transforms have none
        "precision": precision,
        "seq_len": None if tokens % batch else tokens // batch,
        "batch_size": batch,
        "device": device,
        "seed": lock["seed"],
        "measure": preset("measure", lock["measure"]),
        "engine": chosen("runtime"),
        "solver": chosen("solver"),
    }


def preset(group: str, node: Mapping[str, Any]) -> str:
    """What a node of ``group`` is called in a record: ``paper-own`` where fields of the preset differ."""
    asked = {key: value for key, value in node.items() if key != "_target_"}
    return name_in_record(asked, published(group, str(node["name"])))


def protocol(
    measure: Mapping[str, Any],
    samples: Sequence[Sample],
    stopped: Sequence[Mapping[str, Any]],
    profiled: Sequence[Mapping[str, Any]],
    summary: Summary = OF_TIMES,
) -> dict[str, Any]:
    """How it was measured, what ended each process, and the cross-check of the clocks.

    ``measure``: of the lock; ``stopped``: see `icd.stats.width.stopped`; ``profiled``: ``runs`` of ncu.json;
    ``summary``: of a latency's rounds.
    """
    wall = wall_check(samples)
    return {
        "processes": len({s.process for s in samples if s.metric == "latency_ms"}),
        "allocations": measure["allocations"],
        "rounds": measure["rounds"],
        "unit": UNIT[summary],
        "stop": measure["stop"],
        "stopped": list(stopped),
        "energy": {
            "rounds": len({s.round for s in samples if s.metric == "watts"}),
            "note": "rounds of their own behind the latency rounds of each process's first allocation; "
            "gross: idle power is part of it",
        },
        "l2": {
            "repetitions": len({run["repetition"] for run in profiled}),
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


def l2_metric(compared: str) -> str:
    """The metric of samples behind ``measure.l2_compared``."""
    return f"l2_{compared}"


def missing_reasons(processes: Sequence[Mapping[str, Any]], l2: str | None) -> dict[str, str]:
    """Why a metric has no sample, in the words of the backend that was to read it.

    ``processes``: with ``no_energy`` and ``no_cold``; ``l2``: why no forward was profiled.
    """
    energy, cold = (next((p[k] for p in processes if p[k]), None) for k in ("no_energy", "no_cold"))
    return {
        **(dict.fromkeys(L2_METRICS, l2) if l2 else {}),
        **(dict.fromkeys(ENERGY_METRICS, energy) if energy else {}),
        **({"latency_cold_ms": cold} if cold else {}),
    }


def static_scales(amax: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The largest calibrated input of every linear layer, for each set of values."""
    return dict(amax) or {"value": None, "reason": "input scales are dynamic, or the precision has none"}
