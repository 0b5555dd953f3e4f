"""The process that ncu watches: every arm's step, warmed up, then forwards between start and stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from icd.contracts import Step
from icd.measure.cold import Flush
from icd.pipeline.arms import Prepared
from icd.pipeline.device import enter
from icd.pipeline.experiment import Experiment
from icd.pipeline.measuring import lay_out, load_values, step_of

WARM_UP = 5  # forwards before the profiled ones


def profile(
    experiment: Experiment,
    prepared: Prepared,
    arms: Sequence[str],
    regimes: Sequence[str],
    launches: int,
    repetition: int,
    captured: bool,
    device: str,
    tell: Callable[..., None],
) -> dict[str, Any]:
    """Run ``launches`` forwards of every arm and regime under the profiler, a marker before each.

    ``captured``: the step as it is timed, else the same one without its CUDA graph. Returns ``executed`` of
    every arm and ``forwards``: ``[arm, regime]`` of each profiled forward, in order.
    """
    import torch

    enter(device)
    values = load_values(prepared)
    flush = Flush(device)
    cudart: Any = torch.cuda.cudart()
    executed, forwards = {}, []
    for done, name in enumerate(arms):
        recipe = next(a for a in prepared.arms if a.name == name)
        workload = lay_out(recipe, values, experiment.seed, repetition, 0)
        step = step_of(experiment, recipe, workload, device)
        if not captured:
            step = without_graph(step)
        executed[name] = dict(step.executed)
        for _ in range(WARM_UP):
            step()
        for regime in regimes:
            for _ in range(launches):
                (flush if regime == "cold" else step)()
                torch.cuda.synchronize()
                cudart.cudaProfilerStart()
                torch.cuda._sleep(1)
                step()
                torch.cuda.synchronize()
                cudart.cudaProfilerStop()
                forwards.append([name, regime])
        tell("progress", what="profiling", done=done + 1, total=len(arms))
    return {"executed": executed, "forwards": forwards}


def without_graph(step: Any) -> Step:
    """The very step that is timed, launching every kernel by itself.

    Nothing is planned again: without a graph, and under a profiler, a planner would choose otherwise.
    """
    executed = {**step.executed, "cuda_graph": False}
    return dataclasses.replace(step, replay=None, output=None, executed=executed)
