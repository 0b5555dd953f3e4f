"""Small synthetic run directories with the schema of a real one; no model is involved."""

from __future__ import annotations

import copy
import csv
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from icd.contracts import Sample
from icd.pipeline.files import jsonable

NO_L2 = "no L2 counter is read on this device"
NO_ENERGY = "no energy counter is read on this device"
ITERATIVE = ("dense", "linear", "sliced", "iterative", "shuffle", "aa")
PAIRS = {
    "aa": ("aa", "linear"),
    "iterative_vs_linear": ("iterative", "linear"),
    "iterative_vs_sliced": ("iterative", "sliced"),
    "linear_vs_dense": ("linear", "dense"),
    "iterative_vs_dense": ("iterative", "dense"),
    "shuffle_vs_linear": ("shuffle", "linear"),
}
MEANS = {"dense": 12.0, "linear": 10.0, "sliced": 8.0, "iterative": 8.0, "shuffle": 11.0, "aa": 10.0}
SITES = (("layer.0.neurons", "neurons", 64, 8), ("layer.0.heads", "heads", 4, 1))


def ratio(delta: float | None, ci95: list[float] | None, verdict: str | None, **more: Any) -> dict[str, Any]:
    """One compared ratio as `icd.stats` writes it."""
    block = {"delta_pct": delta, "ci95": ci95, "n_units": 5, "verdict": verdict, "p_value": 0.01}
    block |= {"summary": "median", "mean_delta_pct": delta, "mean_ci95": ci95, "mean_gap_ci95": [-0.2, 0.2]}
    return {**block, "source": "measured", "floor_pct": 2.0, **more}


def missing(reason: str) -> dict[str, Any]:
    """A ratio that was not measured."""
    none = {"delta_pct": None, "ci95": None, "n_units": 0, "verdict": None, "p_value": None}
    none |= {"summary": "median"}
    return {**none, "source": None, "reason": reason}


def simulated(delta: float) -> dict[str, Any]:
    """A simulated ratio: no interval, no verdict."""
    return {
        **ratio(delta, None, None, n_units=1, mean_gap_ci95=None),
        "source": "simulated",
        "reason": "simulated",
    }


def metrics(arms: tuple[str, ...] = ITERATIVE, pipeline: str = "iterative") -> dict[str, Any]:
    """A finished run on a CPU without L2 or energy, iterative 20 % faster than linear."""
    compare = {
        name: {
            "latency": ratio(-20.0, [-22.0, -18.0], "WIN"),
            "ept": missing(NO_ENERGY),
            "dram": missing(NO_L2),
            "l2_pp": {"delta": None, "ci95": None, "n_units": 0, "source": None, "reason": NO_L2},
            "cost": {"C_delta_pct": -18.6, "Q_delta": 0.0125},
            "tiles": {"delta_pct": -45.8},
            "quality_pp": -0.01,
            "quality_vs_dense_pp": -5.0,
        }
        for name, pair in PAIRS.items()
        if set(pair) <= set(arms)
    }
    if "aa" in compare:
        compare["aa"]["latency"] = ratio(0.1, [-0.5, 0.7], "EQUIVALENT")
    if "iterative_vs_sliced" in compare:
        compare["iterative_vs_sliced"]["latency"] = ratio(0.2, [-0.4, 0.8], "EQUIVALENT")
    return {
        "schema": "icd.metrics/1",
        "run_id": "0123456789abcdef",
        "created": "2026-01-02T03:04:05+00:00",
        "model": {
            "name": "tiny", "family": "bert", "params": 1000, "weights": "pretrained", "source": "a package",
            "sha256": "ab" * 32, "licence": "Apache-2.0",
        },
        "config": {
            "pipeline": pipeline, "transform": "channel", "sparsity": 0.5, "precision": "fp32", "seq_len": 16,
            "batch_size": 2, "device": "cpu", "seed": 0, "measure": "paper", "engine": "compact",
            "solver": "tile",
        },
        "arms": {name: arm(name) for name in arms},
        "compare": compare,
        "equivalence": {"max_rel_err": 1e-15, "dtype": "float64", "ok": True, "round_trip": "bit for bit"},
        "iterations": [
            {"pi_hash": "aa", "J": 0.5, "T": 2000.0, "C": 0.3, "Q": 0.0, "accepted": None, "reason": "start",
             "elapsed_s": 0.1},
            {"pi_hash": "bb", "J": 0.5, "T": 2000.0, "C": 0.3, "Q": 0.0, "accepted": False,
             "reason": "T changed by +0.00 %: rolled back", "elapsed_s": 0.1},
        ] if pipeline == "iterative" else [],
        "solver": {"seconds": 0.5, "break_even_forwards": 250},
        "sites": [site(*s) for s in SITES],
        "protocol": {"processes": 5, "allocations": 2, "rounds": 2, "regime": "warm"},
        "inputs": {"tokens": 32},
        "derivation": {"summary": "median"},
        "tags": [],
        "gates": {
            "mock": {"pass": True, "checks": [check("cost_c", -10.0, -18.6, True)]},
            "smoke": {"pass": None, "checks": [check("l2", 5.0, None, None, NO_L2)]},
            "strict": {"pass": False, "checks": [check("latency", -20.0, -20.0, False, "upper end -18")]},
        },
        "elapsed_s": 12.5,
    }  # fmt: skip


def arm(name: str) -> dict[str, Any]:
    """One arm without L2 or energy."""
    mean = MEANS[name]
    spread = {"p50": mean, "p95": mean * 1.1, "ci95": [mean - 0.5, mean + 0.5]}
    no_cost = {"C": None, "Q": None, "J": None, "reason": "the layout differs in every allocation"}
    return {
        "latency_ms": {"mean": mean, **spread, "n": 40, "source": "measured"},
        "throughput_tok_s": 32e3 / mean,
        "l2": {"served_pct": None, "lookup_hit_pct": None, "dram_bytes_per_token": None, "source": None,
               "reason": NO_L2},
        "energy": {"ept_j": None, "watts": None, "idle_watts": None, "source": None, "reason": NO_ENERGY},
        "quality": {"metric": "cosine", "value": 0.95, "source": "executed"},
        "cost": no_cost if name == "shuffle" else {"C": mean / 30, "Q": 0.01 * mean, "J": mean / 20},
        "tiles": {"live": int(mean), "total": 12},
        "engine": "compact",
        "executed": {"engine": "compact", "dtype": "float32", "source": "measured",
                     "sites": {"layer.0.neurons": [32, 64], "layer.0.heads": [2, 4]}},
        "engine_check": {"max_rel_err": 6e-7, "tolerance": 1e-4, "ok": True},
    }  # fmt: skip


def site(name: str, group: str, channels: int, block: int) -> dict[str, Any]:
    """A row of the site table."""
    cost = {a: {"T": 1000.0 * m, "C": 0.3, "Q": 0.0, "J": 0.4} for a, m in MEANS.items() if a != "shuffle"}
    solver = {"before": {"chosen": "degree", "seconds": 0.1}, "after": {}}
    return {
        "site": name, "group": group, "channels": channels, "block": block, "live": channels // 2,
        "cost": cost, "solver": solver,
    }  # fmt: skip


def check(name: str, threshold: float, value: Any, passed: Any, reason: str | None = None) -> dict[str, Any]:
    """A check of a gate."""
    found = {"name": name, "threshold": threshold, "value": value, "ci95": None}
    return {**found, "pass": passed, "reason": reason, "required": True}


def earlier(record: dict[str, Any]) -> dict[str, Any]:
    """The same run recorded before summaries were named."""
    out = copy.deepcopy(record)
    del out["derivation"]["summary"]
    for compared in out["compare"].values():
        for block in compared.values():
            for key in ("summary", "mean_delta_pct", "mean_ci95", "mean_gap_ci95"):
                if isinstance(block, dict):
                    block.pop(key, None)
    return out


def simulate(record: dict[str, Any]) -> dict[str, Any]:
    """The same run on the simulator."""
    out = copy.deepcopy(record)
    for block in out["compare"].values():
        block["latency"] = simulated(block["latency"]["delta_pct"])
    for found in out["arms"].values():
        found["latency_ms"] |= {"source": "simulated", "ci95": None, "reason": "simulated"}
    out["tags"] = ["rolled-back", "simulated"]
    return out


def write_run(folder: Path, record: dict[str, Any], *, processes: int = 3, iterations: int = 2) -> Path:
    """A finished run directory around ``record``."""
    folder.mkdir(parents=True)
    (folder / "W").mkdir()
    rng = np.random.default_rng(0)
    layouts, live = {"before": {}, "after": {}}, {}
    for name, _, size, _ in SITES:
        dense = rng.random((size, size)) * (1 - np.eye(size))
        scipy.sparse.save_npz(folder / "W" / f"{name}.npz", scipy.sparse.csr_matrix(dense))
        live[name] = sorted(rng.permutation(size)[: size // 2].tolist())
        layouts["before"][name] = rng.permutation(size).tolist()
        layouts["after"][name] = [*live[name], *(c for c in range(size) if c not in live[name])]
    for when, found in layouts.items():
        _json(folder / f"perm_{when}.json", {"layouts": found, "live": live})
    _json(folder / "metrics.json", record)
    _json(folder / "config.lock.json", {"seed": 0, "model": {"name": record["model"]["name"]}, "gate": None})
    (folder / "config.lock.yaml").write_text("seed: 0\n")
    _json(
        folder / "env.json",
        {"cpu": {"model": "a CPU", "cores": 2}, "git": {"commit": "c0ffee", "dirty": True}},
    )
    samples(folder / "samples.csv.gz", list(record["arms"]), processes, iterations)
    sums(folder)
    return folder


def samples(path: Path, arms: list[str], processes: int, iterations: int) -> None:
    """Raw latencies near each arm's mean."""
    rng = np.random.default_rng(1)
    with gzip.open(path, "wt", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(Sample._fields)
        for process in range(processes):
            for order, name in enumerate(arms):
                for i in range(iterations):
                    value = MEANS[name] * (1 + 0.01 * rng.standard_normal())
                    writer.writerow(
                        (name, "latency_ms", process, 0, 0, order, i, value, "ms", "measured", "", "")
                    )


def sums(folder: Path) -> None:
    """``SHA256SUMS`` of the folder."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}" for f in files
    ]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(jsonable(value)))
