"""Whole runs whose measuring processes invent their samples, through everything else that a run does.

An arm in a layout other than linear's is slower, and costs more energy, by a set factor; ``stuck``: a process
whose energy counter stands still. With ``gpu`` the device says it is one, and ncu is replaced by what it
would write: 12 points more served for iterative.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from functools import partial

import numpy as np
import pytest

from icd.cli import compose_cell
from icd.config import check, conf_dir
from icd.contracts import Sample
from icd.model.mock import Mock
from icd.pipeline import measurement, prepare, run
from icd.pipeline.profiling import profile_arms
from icd.runtime.masked import Masked
from icd.stats import width
from icd.stats.design import building, rounds, seed_of
from tests.pipeline.test_profiling import asked, written
from tests.tiny import mock

CPU = "the device is a CPU: energy is read from an NVIDIA GPU's counter"
PROTOCOL = (
    "measure.allocations=1", "measure.rounds=4", "measure.repeats=1", "measure.power_rounds=4",
    "measure.cold_rounds=0", "measure.power_sample_hz=2", "precision=fp32",
)  # fmt: skip
WORK = [{"kind": "linear", "rate": "fp32", "calls": 1, "flops": 1e9, "bytes": 1e7, "weight_bytes": 1e6}]
DEVICE = {
    "asked": "auto",
    "source": "read",
    "is_device": True,
    "name": "a CPU",
    "kind": "cpu",
    "dram_gb_s": 10.0,
    "tflops": {"fp32": 0.2},
    "notes": [],
}


class Device(Mock):
    """The synthetic model as if it ran on a device that can be timed."""

    simulated = False

    def build(self):
        built = super().build()
        return dataclasses.replace(built, card=dataclasses.replace(built.card, tags=(), simulated=False))


def experiment(*overrides):
    tiny = {f.name: getattr(mock(), f.name) for f in dataclasses.fields(Mock)}
    same = [f"model.{name}={value}" for name, value in tiny.items() if isinstance(value, int | float)]
    words = ["model=mock", "tracking=none", "device=cpu", *same, *PROTOCOL, *overrides]
    model = Device(**tiny)
    return dataclasses.replace(check(compose_cell(conf_dir(), words)), model=model)


class Child:
    """Stands in for child processes; ``slower`` and ``hungrier``: factors of any layout but linear's."""

    def __init__(self, slower: float, hungrier: float, gpu: bool, stuck: int | None) -> None:
        self.slower, self.hungrier, self.gpu, self.stuck = slower, hungrier, gpu, stuck
        self.measured = []

    def __call__(self, stage, arguments, folder, listen, **kwargs):
        if stage == "prepare":
            prepared = prepare.prepare(
                tell=lambda event, **fields: listen({"event": event, **fields}), **arguments
            )
            device = "cuda:0" if self.gpu else "cpu"
            return dataclasses.replace(prepared, facts={**prepared.facts, "device": device})
        assert stage == "measure"
        measure, seed = arguments["experiment"].measure, arguments["experiment"].seed
        arms, process = arguments["prepared"].arms, arguments["process"]
        self.measured.append({arm.name: arm.layouts for arm in arms})
        timed, names, stopped = [], [arm.name for arm in arms], []
        for allocation in range(measure.allocations):
            order = rounds(len(arms), measure.rounds, seed_of(seed, process, allocation))
            mine = list(self.blocks(arms, process, allocation, order, measure.repeats))
            stopped.append(width.allocation(allocation, "rounds", mine, names))
            timed += mine
        order = rounds(len(arms), measure.power_rounds, seed_of(seed, process, measure.allocations))
        missing = measure.no_energy() or (None if self.gpu else CPU)
        if process == self.stuck:
            missing = "the energy counter did not move for 2 s"
        energy = [] if missing else list(self.energy(arms, process, measure.rounds, order))
        return {
            "samples": timed + energy,
            "power": [
                (process, s.arm, s.round, 99.0 * s.round + 9.0 * s.order + 0.5 * k, s.value)
                for s in energy
                if s.metric == "watts"
                for k in range(12)
            ],
            "no_energy": missing,
            "no_cold": "measure.cold_rounds=0",
            "built": [
                [names[i] for i in building(len(names), process, k, seed)] for k in range(measure.allocations)
            ],
            "throttling": [],
            "stopped": width.process(process, stopped),
            "blocks": [
                {
                    "metric": "latency_ms",
                    "allocation": allocation,
                    "rounds": measure.rounds,
                    "iterations": measure.repeats,
                }
                for allocation in range(measure.allocations)
            ],
            "load_start": 0.5,
            "load_1min": 0.5,
            "clocks_set": None,
            "other_processes": None,
            "checks": {name: {"max_rel_err": 1e-6, "tolerance": 1e-4, "ok": True} for name in names},
            "quality": {name: {"metric": "cosine", "value": 0.9, "source": "executed"} for name in names},
            "work": dict.fromkeys(names, WORK),
            "hardware": DEVICE if process == 0 else None,
            "executed": {name: ran(arguments, name) for name in names},
            "environment": {"device": arguments["device"]},
        }

    def slowed(self, arms, arm):
        """Whether the arm has the transformed values in another layout than linear's."""
        linear = next((a for a in arms if a.name == "linear"), arm)
        return arm.values == "transformed" and any(
            not np.array_equal(arm.layouts[site], linear.layouts[site]) for site in linear.layouts
        )

    def blocks(self, arms, process, allocation, orders, repeats):
        rng = np.random.default_rng([process, allocation])
        for number, order in enumerate(orders):
            for position, k in enumerate(order):
                level = 10.0 * (self.slower if self.slowed(arms, arms[k]) else 1.0)
                for i in range(repeats):
                    value = level * (1 + 0.002 * rng.standard_normal())
                    yield Sample(
                        arms[k].name, "latency_ms", process, allocation, number, position, i, value, "ms",
                        "measured", 1900.0, 50.0,
                    )  # fmt: skip

    def energy(self, arms, process, first_round, orders):
        rng = np.random.default_rng([process, 1])
        for number, order in enumerate(orders):
            for position, k in enumerate(order):
                ms = 10.0 * (1 + 0.002 * rng.standard_normal())
                watts = 200.0 * (self.hungrier if self.slowed(arms, arms[k]) else 1.0)
                values = (
                    ("energy_j", watts * ms / 1e3, "J"), ("watts", watts, "W"), ("idle_watts", 80.0, "W"),
                    ("energy_block_ms", ms, "ms"),
                )  # fmt: skip
                for metric, value, unit in values:
                    yield Sample(
                        arms[k].name, metric, process, 0, first_round + number, position, 0, value, unit,
                        "measured", 1900.0, 50.0,
                    )  # fmt: skip


def ran(arguments, name):
    """What was executed for an arm: tiles of its sites that hold a live channel, or all (runtime=masked)."""
    prepared, masked = arguments["prepared"], isinstance(arguments["experiment"].runtime, Masked)
    arm = next(arm for arm in prepared.arms if arm.name == name)
    rows = prepared.facts["sites"]
    widths = {row["site"]: row["channels"] if masked else kept(prepared, arm, row) for row in rows}
    sites = {row["site"]: [widths[row["site"]], row["channels"]] for row in rows}
    own = {"engine": "masked" if masked else "compact", "sites": sites, "source": "measured"}
    return {**own, "format": "fp32", "dtype": "float32"}


def kept(prepared, arm, row):
    """Channels in the tiles of ``arm`` that hold a live one; shuffle's are those of its first allocation."""
    site, size, block = row["site"], row["channels"], row["block"]
    live = prepared.live[arm.values].get(site, np.ones(size, bool))
    pi = arm.layouts[site]
    if arm.shuffled:
        pi = np.random.default_rng([0, 0, 0, zlib.crc32(site.encode())]).permutation(size)
    alive = live[pi]
    return sum(len(alive[k : k + block]) for k in range(0, size, block) if alive[k : k + block].any())


def ncu(stage, arguments, folder, listen, *, prefix, timeout_s):
    """What a process under ncu leaves: its log, what it executed and whose forwards it profiled."""
    whose = asked(arguments)
    at = arguments["repetition"]
    served = [0.5 + 0.01 * at + (0.12 + 0.001 * at) * (arm == "iterative") for arm, _ in whose]
    with open(prefix[prefix.index("--log-file") + 1], "w") as log:
        log.write(written([graph for _, graph in whose], served=served))
    graph = {"cuda_graph": True, "cuda_graph_when_timed": False} if arguments["captured"] else {}
    executed = {arm: {**ran(arguments, arm), **graph} for arm in arguments["arms"]}
    return {"executed": executed, "profiled": whose, "refused": None}


def go(folder, slower, hungrier, *overrides, gpu=False, stuck=None, child_of_ncu=ncu):
    """The run's folder, its metrics and what the children measured."""
    child = Child(slower, hungrier, gpu, stuck)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "run_child", child)
        patch.setattr(measurement, "run_child", child)
        patch.setattr(
            measurement, "profile_arms", partial(profile_arms, child=child_of_ncu, find=lambda: "no-ncu")
        )
        run.run(experiment(*overrides), folder, {"model": "mock"})
    return folder, json.loads((folder / "metrics.json").read_text()), child
