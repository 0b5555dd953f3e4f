"""From prepared facts and raw samples to ``metrics.json`` and the other files of a run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from icd.contracts import Sample
from icd.measure.power import PowerRow
from icd.pipeline.arms import Prepared
from icd.pipeline.experiment import Experiment
from icd.pipeline.files import write_bytes, write_json, write_samples
from icd.pipeline.layouts import total_cost
from icd.pipeline.profiling import L2Record
from icd.stats.derive import derive
from icd.stats.wall import wall_check

SCHEMA = "icd.metrics/1"
PAIRS = {
    "iterative_vs_linear": ("iterative", "linear"),
    "iterative_vs_sliced": ("iterative", "sliced"),
    "linear_vs_dense": ("linear", "dense"),
    "iterative_vs_dense": ("iterative", "dense"),
    "shuffle_vs_linear": ("shuffle", "linear"),
    "aa": ("aa", "linear"),
}
L2_METRICS = ("l2_served_pct", "l2_lookup_hit_pct", "dram_bytes_per_token")
ENERGY_METRICS = ("energy_j", "watts", "idle_watts")


def build_metrics(
    experiment: Experiment,
    prepared: Prepared,
    processes: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
    l2: L2Record,
    *,
    run_id: str,
    created: str,
) -> dict[str, Any]:
    """``metrics.json`` without its gates; ``processes`` are the results of the measuring processes.

    ``samples`` hold those of ``l2`` as well.
    """
    facts = prepared.facts
    arms = [arm.name for arm in prepared.arms]
    settings = {
        "device": facts["device"],
        "tokens": facts["tokens"],
        "l2_metric": "l2_served_pct",
        "regime": "warm",
        "reasons": missing_reasons(processes, l2),
    }
    derived = derive(samples, arms, **settings)
    first = processes[0]
    costs = {name: total_cost(sites) for name, sites in facts["costs"].items()}
    out_arms: dict[str, Any] = {}
    for arm in prepared.arms:
        executed = first["executed"][arm.name]
        check = max((p["checks"][arm.name] for p in processes), key=lambda c: c["max_rel_err"])
        cost = costs.get(arm.name) or (costs.get("dense") if arm.values == "dense" else None)
        out_arms[arm.name] = {
            **derived["arms"][arm.name],
            "quality": first["quality"].get(arm.name)
            or {"metric": None, "value": None, "source": None, "reason": "not evaluated"},
            "cost": {k: cost[k] for k in ("C", "Q", "J")}
            if cost
            else {"C": None, "Q": None, "J": None, "reason": "the layout differs in every allocation"},
            "tiles": count_tiles(executed["sites"], facts["sites"]),
            "engine": executed["engine"],
            "executed": executed,
            "engine_check": check,
        }
    wall = wall_check(samples)
    compare = {name: {**block, **_computed(name, out_arms)} for name, block in derived["compare"].items()}
    card = facts["card"]
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
        "config": {
            "pipeline": experiment.pipeline.name,
            "transform": experiment.lock["transform"]["_target_"].rpartition(".")[2].lower(),
            "sparsity": experiment.sparsity,
            "precision": facts["precision"],
            "seq_len": facts["tokens"] // next(iter(facts["input_shape"].values()))[0],
            "batch_size": next(iter(facts["input_shape"].values()))[0],
            "device": facts["device"],
            "seed": experiment.seed,
            "measure": experiment.measure.name,
            "engine": experiment.lock["runtime"]["_target_"].rpartition(".")[2].lower(),
            "solver": experiment.lock["solver"]["_target_"].rpartition(".")[2].lower(),
        },
        "arms": out_arms,
        "compare": compare,
        "equivalence": facts["equivalence"],
        "iterations": facts["iterations"],
        "solver": {
            "seconds": facts["solver_seconds"],
            "cache_hits": sum(v.get("cache") == "hit" for s in facts["solver"].values() for v in s.values()),
            **break_even(facts["solver_seconds"], out_arms),
            "time_limited": [
                n for s in facts["solver"].values() for n, v in s.items() if v.get("time_limited")
            ],
            "timeouts": [n for s in facts["solver"].values() for n, v in s.items() if v.get("timeout")],
        },
        "transform": facts["transform"],
        "static_scales": static_scales(facts["static_scales"]),
        "sites": site_table(facts),
        "bridge": {"value": None, "reason": "bridge=none"},
        "protocol": {
            "processes": len(processes),
            "allocations": experiment.measure.allocations,
            "rounds": experiment.measure.rounds,
            "unit": "process mean of log ratios",
            "energy": {
                "rounds": len({s.round for s in samples if s.metric == "watts"}),
                "note": "rounds of their own behind the latency rounds of each process's first allocation; "
                "gross: idle power is part of it",
            },
            "l2": {
                "repetitions": len({s.process for s in l2.samples}),
                "regime": "warm",
                "note": "one profiled forward a repetition, each in a process of its own, under ncu",
            },
            "wall": {
                "vs_events_pct": wall,
                "reason": None if wall else "no device was timed by its own events",
            },
        },
        "derivation": {**settings, "objective": asdict(experiment.solver.objective)},
        "inputs": {
            "shape": facts["input_shape"],
            "sha256": facts["input_sha256"],
            "tokens": facts["tokens"],
            "calibration_tokens": facts["calibration_tokens"],
            "texts": facts["texts"],
        },
        "tags": tags(experiment, prepared, processes, samples, compare),
    }


def missing_reasons(processes: Sequence[Mapping[str, Any]], l2: L2Record) -> dict[str, str]:
    """Why a metric has no sample, in the words of the backend that was to read it."""
    energy = next((p["no_energy"] for p in processes if p["no_energy"]), None)
    return {
        **(dict.fromkeys(L2_METRICS, l2.missing) if l2.missing else {}),
        **(dict.fromkeys(ENERGY_METRICS, energy) if energy else {}),
    }


def count_tiles(widths: Mapping[str, Sequence[int]], sites: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Column blocks executed and in all, summed over sites."""
    block = {row["site"]: row["block"] for row in sites}
    return {
        "live": sum(-(-kept // block[name]) for name, (kept, _) in widths.items()),
        "total": sum(-(-size // block[name]) for name, (_, size) in widths.items()),
    }


def _computed(name: str, arms: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison says beyond samples: cost, tiles, quality."""
    a, b = (arms[arm] for arm in PAIRS[name])
    reason = "the layout differs in every allocation" if "shuffle" in name else None
    known = a["cost"]["C"] is not None and b["cost"]["C"] is not None
    cost: dict[str, Any] = {
        "C_delta_pct": 100.0 * (a["cost"]["C"] / b["cost"]["C"] - 1.0) if known and b["cost"]["C"] else None,
        "Q_delta": a["cost"]["Q"] - b["cost"]["Q"] if known else None,
    }
    if cost["C_delta_pct"] is None:
        cost["reason"] = reason or "the base arm's C is 0"
    out = {
        "cost": cost,
        "tiles": {"delta_pct": 100.0 * (a["tiles"]["live"] / b["tiles"]["live"] - 1.0)},
        "quality_pp": quality_points(a["quality"], b["quality"]),
        "quality_vs_dense_pp": quality_points(a["quality"], {"metric": a["quality"]["metric"], "value": 1.0}),
    }
    if out["quality_pp"] is None:
        out["quality_reason"] = a["quality"].get("reason", "not evaluated")
    return out


def quality_points(a: Mapping[str, Any], b: Mapping[str, Any]) -> float | None:
    """``100 (a - b)`` for cosine, agreement and accuracy; ``100 (ppl_b / ppl_a - 1)`` for perplexity."""
    if a["value"] is None or b["value"] is None:
        return None
    if a["metric"] == "perplexity":
        return 100.0 * (float(b["value"]) / float(a["value"]) - 1.0)
    return 100.0 * (float(a["value"]) - float(b["value"]))


def static_scales(amax: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The largest calibrated input of every linear layer, for each set of values."""
    return dict(amax) or {"value": None, "reason": "input scales are dynamic, or the precision has none"}


def break_even(seconds: float, arms: Mapping[str, Any]) -> dict[str, Any]:
    """Forwards after which the solver's time is earned back by iterative against linear."""
    names = ("iterative", "linear")
    means = [arms[n]["latency_ms"]["mean"] for n in names if n in arms]
    if len(means) < 2 or None in means:
        return {"break_even_forwards": None, "reason": "no latency of both iterative and linear"}
    gain_s = (means[1] - means[0]) / 1e3
    if gain_s <= 0:
        return {"break_even_forwards": None, "reason": "iterative is not faster than linear"}
    return {"break_even_forwards": int(np.ceil(seconds / gain_s))}


def site_table(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row a site: geometry, live channels, and cost of each arm under the one graph W'."""
    rows = []
    for row in facts["sites"]:
        name = row["site"]
        live = facts["live"].get(name)
        rows.append(
            {
                **row,
                "live": int(np.sum(live)) if live is not None else row["channels"],
                "graph": facts["graphs"][name],
                "cost": {
                    arm: {k: sites[name][k] for k in ("T", "C", "Q", "R_align", "R_stab", "J", "W_sum")}
                    for arm, sites in facts["costs"].items()
                },
                "solver": {
                    when: {k: v for k, v in stats.get(name, {}).items() if k not in ("before", "after")}
                    for when, stats in facts["solver"].items()
                },
            }
        )
    return rows


def tags(
    experiment: Experiment,
    prepared: Prepared,
    processes: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
    compare: Mapping[str, Any],
) -> list[str]:
    """Words that a reader must see beside every figure of the run."""
    facts = prepared.facts
    out = set(facts["card"].tags)
    if facts["card"].weights == "random":
        out.add("random-weights")
    if any(s.source == "simulated" for s in samples):
        out.add("simulated")
    if any(v.get("time_limited") for s in facts["solver"].values() for v in s.values()):
        out.add("time-limited")
    if experiment.measure.name != "paper":
        out.add(f"measure-{experiment.measure.name}")
    if facts["device"].startswith("cuda"):
        out.add("unlocked")
    if any(p["throttling"] for p in processes):
        out.add("throttled")
    if "iterative" in facts["costs"] and not any(i["accepted"] for i in facts["iterations"]):
        out.add("rolled-back")
    headline = compare.get("iterative_vs_linear", {}).get("latency", {}).get("verdict")
    if headline is not None and headline != "WIN":
        out.add("null-result" if headline in ("EQUIVALENT", "AMBIGUOUS") else "loss")
    return sorted(out)


def write_record(
    folder: Path,
    prepared: Prepared,
    samples: Sequence[Sample],
    power: Sequence[PowerRow],
    l2: L2Record,
    metrics: Mapping[str, Any],
) -> None:
    """Layouts, graphs, raw samples and metrics below ``folder``."""
    import scipy.sparse

    facts = prepared.facts
    (folder / "W").mkdir(exist_ok=True)
    for name, W in facts["W"].items():
        scipy.sparse.save_npz(folder / "W" / f"{name}.npz", W)
    live = {name: np.flatnonzero(mask).tolist() for name, mask in facts["live"].items()}
    for file, key in (("perm_before", "pi0"), ("perm_after", "pi1")):
        record = {"layouts": {name: np.asarray(pi).tolist() for name, pi in facts[key].items()}, "live": live}
        write_bytes(folder / f"{file}.json", _compact_json(record))
    write_samples(folder / "samples.csv.gz", samples)
    write_json(folder / "ncu.json", l2.as_json())
    lines = [",".join(PowerRow._fields), *(f"{r[0]},{r[1]},{r[2]},{r[3]:.4f},{r[4]:.3f}" for r in power)]
    write_bytes(folder / "power.csv", ("\n".join(lines) + "\n").encode())
    write_json(folder / "metrics.json", dict(metrics))


def _compact_json(value: Any) -> bytes:
    import json

    return (json.dumps(value, separators=(",", ":")) + "\n").encode()
