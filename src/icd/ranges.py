"""Where the numbers of a configuration may lie: beyond, a run would hang, overflow or decide nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from icd.errors import ConfigError


class Range(NamedTuple):
    """From ``low`` to ``high``, both included; ``above``: without ``low`` itself."""

    low: float
    high: float
    above: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` lies in it."""
        return (self.low < value if self.above else self.low <= value) and value <= self.high

    def __str__(self) -> str:
        begin = f"above {self.low:.15g} and up" if self.above else f"from {self.low:.15g}"
        return f"a number {begin} to {self.high:.15g}"


SEED = Range(0, 2**31 - 1)
SHARE = Range(0, 1)
COUNT = Range(1, 10**6)
MANY = Range(1, 2**31 - 1)
SECONDS = Range(0, 10**6, above=True)
WEIGHT = Range(0, 10**6)
RATE = Range(0, 10**6, above=True)
ROUNDS = Range(0, 10**5)
TILE = Range(8, 512)
CHANGE = Range(-100, 10**6, above=True)  # percent of what was: nothing falls by all of it
RANGES: dict[str, Range] = {
    "model.hub_timeout_s": Range(0, 3600),
    "model.default_batch_size": Range(1, 2**16),
    "model.default_seq_len": Range(1, 2**20),
    "model.calibration_tokens": Range(1, 10**8),
    "model.probe_sentences": COUNT,
    "model.batch_size": Range(1, 2**16),
    "model.seq_len": Range(1, 2**20),
    "model.seed": SEED,
    "model.layers": Range(1, 10**4),
    "model.width": COUNT,
    "model.neurons": COUNT,
    "model.group": COUNT,
    "model.noise": WEIGHT,
    "model.rows": Range(2, 2**17),
    "model.row_bytes": Range(4, 4096),
    "model.max_reads": MANY,
    "model.records": Range(1, 10**8),
    "model.inside": SHARE,
    "model.burst": Range(1, 10**8),
    "model.weak": SHARE,
    "graph.top_share": Range(0, 1, above=True),
    "graph.per_row": COUNT,
    "graph.nnz_cap": MANY,
    "graph.hops": Range(0, 1000),
    "graph.reuse_decay": SHARE,
    "graph.max_len": Range(0, 10**6),
    "graph.group": Range(2, 10**6),
    "graph.degree": Range(1, 10**5),
    "graph.outside": SHARE,
    "graph.sigma": Range(0, 10),
    "graph.seed": SEED,
    "solver.seed": SEED,
    "solver.time_budget_s": SECONDS,
    "solver.max_proposals": Range(1, 10**12),
    "solver.alpha": WEIGHT,
    "solver.beta": WEIGHT,
    "solver.gamma_s": WEIGHT,
    "solver.mu": WEIGHT,
    "solver.lam": WEIGHT,
    "solver.tau": WEIGHT,
    "solver.resolution": WEIGHT,
    "transform.sparsity": Range(0, 0.95),
    "transform.seed": SEED,
    "precision.group_size": Range(16, 2**16),
    "runtime.tile_rows": TILE,
    "runtime.tile_cols": TILE,
    "measure.processes": Range(1, 1000),
    "measure.allocations": Range(1, 1000),
    "measure.rounds": Range(1, 10**5),
    "measure.repeats": COUNT,
    "measure.warmup_iter": Range(0, 10**6),
    "measure.ncu_repetitions": Range(0, 1000),
    "measure.cold_rounds": ROUNDS,
    "measure.power_rounds": ROUNDS,
    "measure.power_sample_hz": Range(0, 100),
    "measure.target_width_pct": Range(0, 1000, above=True),
    "measure.time_budget_s": SECONDS,
    "hardware.l2_bytes": MANY,
    "hardware.l2_ways": Range(1, 2**16),
    "hardware.line_bytes": Range(1, 2**16),
    "hardware.sector_bytes": Range(1, 2**16),
    "hardware.dram_gb_s": RATE,
    "hardware.l2_gb_s": RATE,
    "hardware.tflops": RATE,
    "hardware.launch_us": WEIGHT,
    "hardware.idle_watts": WEIGHT,
    "hardware.busy_watts": WEIGHT,
    "hardware.dram_pj_byte": WEIGHT,
    "pipeline.max_iters": Range(0, 1000),
    "pipeline.eps_T": WEIGHT,
    "pipeline.eps_J": WEIGHT,
    "gate.latency_pct": CHANGE,
    "gate.ept_pct": CHANGE,
    "gate.cost_c_pct": Range(-100, 10**6),
    "gate.l2_pp": Range(-100, 100),
    "gate.quality_loss_pp": Range(-(10**6), 10**6),
}
OWN = Range(-1e18, 1e18)  # of a class that is not icd's, which knows better


def check_ranges(group: str, node: Mapping[str, Any]) -> None:
    """ConfigError for the first number of a group's node that lies outside its range, by name."""
    ours = str(node.get("_target_")).startswith("icd.")
    for key, value in node.items():
        name = f"{group}.{key}"
        allowed = RANGES.get(name, OWN) if ours else OWN
        found = value.items() if isinstance(value, Mapping) else [(None, value)]
        for below, number in found:
            if isinstance(number, bool) or not isinstance(number, int | float):
                continue
            if not allowed.holds(number):
                which = name if below is None else f"{name}.{below}"
                raise ConfigError(f"{which}={number!r:.60}: expected {allowed}")
