"""How the rounds of a process should become its unit: candidates, simulated; writes summaries.csv.

    python benchmarks/statistics/run.py [--experiments N] [--out FOLDER]

Each row is one summary of one protocol in one scenario (`experiments.py`), over N experiments with a true
change of -10 %. ``false_positive_pct``: experiments whose A/A interval excludes 0; ``coverage_pct``: whose
interval holds the true change; ``width_pct``: median width of that interval in points; ``vs_mean``: over that
of ``mean``; ``win_pct``: called WIN, the floor being A/A's; ``bias_pct``: mean estimate less the truth, in
points. Intervals, units and medians are the product's own functions.

    mean               of block medians: over rounds, then over allocations
    median             of the process's rounds, what icd takes for times (`icd.stats.summary`)
    mean of medians    median over an allocation's rounds, then mean over allocations
    median of medians  median over an allocation's rounds, then over allocations
    hodges-lehmann     of the process's rounds: the median of the means of all pairs
    trimmed 20 %       of the process's rounds, as much taken off each end
    trimmed 25 %       the same: the mean of the middle half
    all means          mean of every iteration of a block, then as ``mean``: what stands beside the median
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from experiments import AGAIN, BASE, NEW, PROTOCOLS, SCENARIOS, TRUTH, Array, Protocol, log_latencies

from icd.stats.interval import t_bounds
from icd.stats.summary import process_units
from icd.stats.verdict import fixed_floor_pct

PART = 250  # experiments held in memory at a time


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    rows = []
    for i, protocol in enumerate(PROTOCOLS):
        for j, scenario in enumerate(SCENARIOS):
            rows += measure(scenario, protocol, given.experiments, np.random.default_rng([i, j]))
            print(f"{protocol.name}: {scenario}", flush=True)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "summaries.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def measure(
    scenario: str, protocol: Protocol, experiments: int, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """The rows of all summaries."""
    found: dict[str, list[Array]] = {name: [] for name in SUMMARIES}
    for at in range(0, experiments, PART):
        logs = log_latencies(scenario, protocol, min(PART, experiments - at), rng)
        blocks = {"median": np.median(logs, -1), "mean": np.log(np.exp(logs).mean(-1))}
        for name, (of_block, units) in SUMMARIES.items():
            arms = blocks[of_block]  # (experiments, processes, allocations, rounds, arms)
            pair = [units(arms[..., one] - arms[..., BASE]) for one in (NEW, AGAIN)]
            found[name].append(np.stack(pair))
    return rows_of(scenario, protocol, {name: np.concatenate(parts, 1) for name, parts in found.items()})


def rows_of(scenario: str, protocol: Protocol, found: dict[str, Array]) -> list[dict[str, Any]]:
    """``found[summary]``: (2, experiments, processes), units of the new arm and of A/A."""
    (low, high), out = t_bounds(found["mean"][0]), []
    width_of_mean = np.median(high - low)
    for name, (units, again) in found.items():
        (lo, hi), (aa_lo, aa_hi) = t_bounds(units), t_bounds(again)
        floor = np.maximum(fixed_floor_pct("cuda"), 100 * np.abs(np.expm1([aa_lo, aa_hi])).max(0))
        shares = {
            "false_positive_pct": np.mean((aa_lo > 0) | (aa_hi < 0)),
            "coverage_pct": np.mean((lo <= TRUTH) & (hi >= TRUTH)),
            "win_pct": np.mean(100 * np.expm1(hi) < -floor),
        }
        out.append(
            {
                "protocol": protocol.name,
                "scenario": scenario,
                "summary": name,
                **{key: f"{100 * share:.1f}" for key, share in shares.items()},
                "width_pct": f"{np.median(100 * (np.exp(hi) - np.exp(lo))):.3f}",
                "vs_mean": f"{np.median(hi - lo) / width_of_mean:.2f}",
                "bias_pct": f"{100 * (np.exp(units.mean()) - np.exp(TRUTH)):+.3f}",
            }
        )
    return out


def flat(x: Array) -> Array:
    """(..., allocations, rounds) -> (..., rounds of the process)."""
    return x.reshape(*x.shape[:-2], -1)


def product(summary: Any) -> Callable[[Array], Array]:
    """The units that icd makes of (experiments, processes, allocations, rounds)."""

    def units(x: Array) -> Array:
        process, allocation, _ = (k.ravel() for k in np.indices(x.shape[1:]))
        return process_units(x.reshape(len(x), -1), process, allocation, summary)

    return units


def hodges_lehmann(x: Array) -> Array:
    pairs = np.triu_indices(x.shape[-1])
    return np.asarray(np.median((x[..., pairs[0]] + x[..., pairs[1]]) / 2, -1))


def trimmed(share: float) -> Callable[[Array], Array]:
    """The mean without ``share`` of the weight at each end; a round may count in part."""

    def units(x: Array) -> Array:
        n = x.shape[-1]
        at = np.arange(n)
        weight = np.clip(np.minimum(at + 1, n * (1 - share)) - np.maximum(at, n * share), 0, None)
        return np.asarray(np.sort(x, -1) @ weight / weight.sum())

    return units


# name -> (the value of a block, the units of its rounds)
SUMMARIES: dict[str, tuple[str, Callable[[Array], Array]]] = {
    "mean": ("median", product("mean")),
    "median": ("median", product("median")),
    "mean of medians": ("median", lambda x: np.median(x, -1).mean(-1)),
    "median of medians": ("median", lambda x: np.median(np.median(x, -1), -1)),
    "hodges-lehmann": ("median", lambda x: hodges_lehmann(flat(x))),
    "trimmed 20 %": ("median", lambda x: trimmed(0.2)(flat(x))),
    "trimmed 25 %": ("median", lambda x: trimmed(0.25)(flat(x))),
    "all means": ("mean", product("mean")),
}


if __name__ == "__main__":
    main()
