"""A measuring process: fresh copies of every arm, checks and quality, then timed rounds.

Energy has rounds of its own, behind the latency rounds of the first allocation; counters of the cache
are read elsewhere (`icd.pipeline.profiling`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from icd.contracts import Missing, Sample, Step, Workload
from icd.measure.environment import torch_environment
from icd.measure.latency import measure_rounds
from icd.pipeline.arms import Arm, Prepared, shuffle_layouts, shuffled_sites
from icd.pipeline.checks import engine_check
from icd.pipeline.device import enter
from icd.pipeline.energy import add_energy, open_energy
from icd.pipeline.experiment import Experiment
from icd.stats.design import rounds
from icd.transform.permute import permute

Tell = Callable[..., None]


def measure(
    experiment: Experiment, prepared: Prepared, process: int, device: str, tell: Tell
) -> dict[str, Any]:
    """Samples, checks, quality and what was executed, of one process.

    ``power``: rows of power.csv; ``no_energy``: why there is no energy; ``throttling``: the reasons seen.
    """
    enter(device)
    values = load_values(prepared)
    protocol = experiment.measure
    samples: list[Sample] = []
    checks: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    executed: dict[str, Any] = {}
    simulated = values["dense"].card.simulated
    meter, energy = open_energy(protocol, device, simulated)
    throttling: set[str] = set()
    for allocation in range(protocol.allocations):
        arms = {arm.name: lay_out(arm, values, experiment.seed, process, allocation) for arm in prepared.arms}
        steps = {arm.name: step_of(experiment, arm, arms[arm.name], device) for arm in prepared.arms}
        if allocation == 0:
            for arm in prepared.arms:
                precision = precision_of(experiment, arm)
                work = arms[arm.name]
                checks[arm.name] = engine_check(
                    arm.name, steps[arm.name], work, work.inputs, precision.tolerance(device)
                )
            executed = {name: describe(step, simulated) for name, step in steps.items()}
            if process == 0:
                quality = judge(experiment, values["dense"], steps)
        if simulated:
            samples += simulate_steps(experiment, steps, arms, allocation, device)
            continue
        orders = [
            [prepared.arms[i].name for i in order]
            for order in rounds(
                len(prepared.arms), protocol.rounds, _seed(experiment.seed, process, allocation)
            )
        ]
        latency = measure_rounds(
            steps,
            orders,
            protocol,
            process=process,
            allocation=allocation,
            device=device,
            done=progress(
                tell, "measuring", allocation * protocol.rounds, protocol.allocations * protocol.rounds
            ),
            meter=None if isinstance(meter, Missing) else meter,
        )
        samples += latency.samples
        throttling |= latency.throttling
        if allocation == 0:
            add_energy(
                energy,
                meter,
                steps,
                protocol,
                process=process,
                seed=_seed(experiment.seed, process, protocol.allocations),
                device=device,
                done=progress(tell, "measuring energy", 0, protocol.power_rounds),
            )
    return {
        "samples": samples + energy.samples,
        "power": energy.power,
        "no_energy": energy.missing,
        "throttling": sorted(throttling | energy.throttling),
        "checks": checks,
        "quality": quality,
        "executed": executed,
        "environment": torch_environment(device),
    }


def progress(tell: Tell, what: str, before: int, total: int) -> Callable[[int], None]:
    """Tells of each finished round of ``what``, with ``before`` of ``total`` done in earlier allocations."""
    return lambda number: tell("progress", what=what, done=before + number + 1, total=total)


def describe(step: Step, simulated: bool) -> dict[str, Any]:
    """The step's record. On a simulated device ``source`` is that of the figures, simulated, and
    ``arithmetic`` that of the outputs, which are executed here in the precision or in rounded values.
    """
    if not simulated:
        return dict(step.executed)
    own = step.executed.get("reason")
    reason = "outputs are executed on the CPU; latency, L2 and energy are those of a simulated device"
    return {
        **step.executed,
        "source": "simulated",
        "arithmetic": step.executed["source"],
        "reason": f"{own}; {reason}" if own else reason,
    }


def _seed(seed: int, process: int, allocation: int) -> int:
    return (seed * 1009 + process) * 1013 + allocation


def load_values(prepared: Prepared) -> dict[str, Workload]:
    """The dense workload and the transformed one, both in dense order, float32, on the CPU."""
    from safetensors.torch import load_file

    from icd.transform.calibrate import attach_amax

    dense = prepared.model.build()
    out = {"dense": dense}
    for name, path in prepared.files.items():
        module = copy.deepcopy(dense.module)
        missing = module.load_state_dict(load_file(path), strict=False)
        if missing.unexpected_keys:
            raise ValueError(
                f"{name}: the saved weights hold {missing.unexpected_keys[:3]}, unknown to the model"
            )
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


def judge(experiment: Experiment, dense: Workload, steps: Mapping[str, Step]) -> dict[str, Any]:
    """Quality of every arm through its timed step, against the dense float32 model on the CPU."""
    reference = Reference(dense)
    out: dict[str, Any] = {}
    for name, step in steps.items():
        result = experiment.quality.evaluate(step, reference, dense.probes, dense.card)
        if isinstance(result, Missing):
            out[name] = {"metric": None, "value": None, "source": None, "reason": result.reason}
        else:
            out[name] = {"metric": result[0], "value": result[1], "source": "executed"}
    return out


class Reference:
    """The dense model in float32 on the CPU as a step."""

    def __init__(self, dense: Workload) -> None:
        self.dense = dense
        self.module = dense.module
        self.executed: Mapping[str, Any] = {"engine": "masked", "format": "fp32"}

    def __call__(self) -> Any:
        """Run on the timed inputs."""
        return self.on(self.dense.inputs)

    def on(self, inputs: Any) -> Any:
        """Run on ``inputs``."""
        import torch

        with torch.inference_mode():
            return self.dense.forward(self.dense.module, inputs)


def simulate_steps(
    experiment: Experiment,
    steps: Mapping[str, Step],
    arms: Mapping[str, Workload],
    allocation: int,
    device: str,
) -> list[Sample]:
    """Simulated latency, energy and L2 of the executed layer shapes; one sample a metric and arm."""
    from icd.measure.simulate import linear_layers, simulate

    out: list[Sample] = []
    for position, (name, step) in enumerate(steps.items()):
        workload = arms[name]
        figures = simulate(
            linear_layers(step.module),
            workload.tokens,
            str(step.executed["format"]),
            experiment.hardware,
        )
        rows = {
            "latency_ms": (figures.latency_ms, "ms"),
            "energy_j": (figures.energy_j, "J"),
            "l2_served_pct": (figures.served_pct, "%"),
            "dram_bytes_per_token": (figures.dram_bytes / workload.tokens, "B"),
        }
        out += [
            Sample(name, metric, 0, allocation, 0, position, 0, value, unit, "simulated")
            for metric, (value, unit) in rows.items()
        ]
    return out
