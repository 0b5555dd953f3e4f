"""A measuring process: fresh copies of every arm, checks and quality, then timed rounds.

Energy has rounds of its own, behind the latency rounds of the first allocation; counters of the cache
are read elsewhere (`icd.pipeline.profiling`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from icd.contracts import Inputs, Missing, Sample, Step, Workload
from icd.copies import sharing
from icd.measure.environment import torch_environment
from icd.measure.hardware import resolve
from icd.measure.latency import LatencyRecord
from icd.measure.meter import others
from icd.pipeline.arms import Arm, Prepared, shuffle_layouts, shuffled_sites
from icd.pipeline.checks import check_device, engine_check
from icd.pipeline.device import enter
from icd.pipeline.energy import SIMULATED, add_energy, open_energy
from icd.pipeline.experiment import Experiment
from icd.pipeline.judging import describe, judge
from icd.pipeline.ran import check_ran
from icd.pipeline.simulating import simulate_steps
from icd.pipeline.timing import Timing
from icd.stats.design import building, seed_of
from icd.tensors import exchange, stored
from icd.transform.permute import permute

Tell = Callable[..., None]


def measure(
    experiment: Experiment, prepared: Prepared, process: int, device: str, tell: Tell
) -> dict[str, Any]:
    """Samples, checks, quality and what was executed, of one process.

    ``power``: rows of power.csv; ``no_energy``, ``no_cold``: why there is none; ``throttling``: reasons seen;
    ``built``: the arms of each allocation in the order in which they were built;
    ``work``, ``hardware``: operators of each arm's forward, and the device's figures, of the first process;
    ``other_processes``: the most that computed on the GPU beside it, before the timed rounds or behind them;
    ``stopped``, ``blocks``, ``load_start``, ``load_1min``, ``clocks_set``: see
    `icd.pipeline.timing.Timing.summary`.
    """
    enter(device)
    values = load_values(prepared)
    protocol = experiment.measure
    samples: list[Sample] = []
    checks: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    executed: dict[str, Any] = {}
    work: dict[str, Any] = {}
    simulated = values["dense"].card.simulated
    meter, energy = open_energy(protocol, device, simulated)
    cold: LatencyRecord | Missing = Missing(SIMULATED)
    timing = Timing(
        protocol,
        process,
        device,
        None if isinstance(meter, Missing) else meter,
        progress(tell, "measuring", protocol.allocations * protocol.rounds),
    )
    beside: list[int | None] = []
    built: list[list[str]] = []
    for allocation in range(protocol.allocations):
        fresh: dict[str, Step] = {}
        order = building(len(prepared.arms), process, allocation, experiment.seed)
        built.append([prepared.arms[i].name for i in order])
        for arm in (prepared.arms[i] for i in order):  # what was laid out goes when its step is there
            own = lay_out(arm, values, experiment.seed, process, allocation)
            fresh[arm.name] = step_of(experiment, arm, own, device)
            if allocation == 0:
                tolerance = precision_of(experiment, arm).tolerance(device)
                checks[arm.name] = engine_check(
                    arm.name, fresh[arm.name], own, own.inputs, tolerance, check_device(own, device)
                )
        # those of the allocation before lived on until now, so that these lie elsewhere
        steps = {arm.name: fresh[arm.name] for arm in prepared.arms}
        if allocation == 0:
            executed = {name: describe(step, simulated) for name, step in steps.items()}
            if process == 0:
                quality = judge(experiment, values["dense"], steps)
                work = count_work(steps, values["dense"].inputs)
                check_ran(executed, work, str(experiment.lock["precision"].get("on_missing")))
        if simulated:
            samples += simulate_steps(experiment, steps, values["dense"], allocation)
            continue
        beside += [] if beside else [others(meter)]
        samples += timing.allocation(steps, allocation, seed_of(experiment.seed, process, allocation)).samples
        if allocation == 0:
            seed = seed_of(experiment.seed, process, protocol.allocations)
            cold = timing.cold(steps, seed)
            add_energy(
                energy,
                meter,
                steps,
                protocol,
                process=process,
                seed=seed,
                device=device,
                first_round=timing.count,
                done=progress(tell, "measuring energy", protocol.power_rounds),
            )
    beside.append(others(meter))
    return {
        "samples": samples + ([] if isinstance(cold, Missing) else cold.samples) + energy.samples,
        "power": energy.power,
        "no_energy": energy.missing,
        "no_cold": cold.reason if isinstance(cold, Missing) else None,
        "throttling": sorted(timing.throttling | energy.throttling),
        "other_processes": max((n for n in beside if n is not None), default=None),
        **timing.summary(),
        "built": built,
        "checks": {arm.name: checks[arm.name] for arm in prepared.arms},
        "quality": quality,
        "work": work,
        "hardware": resolve(experiment.hardware, device, simulated=simulated) if process == 0 else None,
        "executed": executed,
        "environment": torch_environment(device),
    }


def count_work(steps: Mapping[str, Step], inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    """What each arm's forward on ``inputs`` computes and moves, by kind of operator."""
    from icd.measure.work import count

    return {name: count(step, inputs) for name, step in steps.items()}


def progress(tell: Tell, what: str, total: int) -> Callable[[int], None]:
    """Tells of each finished round of ``what``; an adaptive stop may take more rounds than ``total``."""
    return lambda number: tell("progress", what=what, done=number + 1, total=max(total, number + 1))


def load_values(prepared: Prepared) -> dict[str, Workload]:
    """The dense workload and the transformed one, both in dense order, float32, on the CPU."""
    from safetensors.torch import load_file

    from icd.transform.calibrate import attach_amax

    dense = prepared.model.build()
    out = {"dense": dense}
    for name, path in prepared.files.items():
        module = sharing(dense.module)  # what a transform left as it was is there once
        saved = load_file(path)
        unknown = sorted(saved.keys() - stored(module).keys())
        if unknown:
            raise ValueError(f"{name}: the saved weights hold {unknown[:3]}, unknown to the model")
        for key, values in saved.items():
            exchange(module, key, values)
        out[name] = dense.with_module(module, live=prepared.live[name])
    for name, amax in prepared.amax.items():
        attach_amax(out[name].module, amax)
    return out


def lay_out(arm: Arm, values: Mapping[str, Workload], seed: int, process: int, allocation: int) -> Workload:
    """A fresh copy of the arm's weights in the arm's layout."""
    workload = values[arm.values]
    layouts = dict(arm.layouts)
    if arm.shuffled:
        layouts.update(shuffle_layouts(shuffled_sites(workload, workload.live), seed, process, allocation))
    return permute(workload, layouts)


def precision_of(experiment: Experiment, arm: Arm) -> Any:
    """The run's precision, or the arm's own."""
    if arm.precision is None:
        return experiment.precision
    return dataclasses.replace(experiment.precision, format=arm.precision)  # type: ignore[type-var]


def step_of(experiment: Experiment, arm: Arm, workload: Workload, device: str) -> Step:
    """The arm's step: the same engine for every arm."""
    return experiment.runtime.prepare(workload, precision_of(experiment, arm), device)
