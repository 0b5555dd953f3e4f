"""The process that ncu watches: one arm's step, warmed up, then one forward between start and stop.

The step is built as it is timed, but without the CUDA graph: ncu runs kernels one by one, so the graph
would change nothing but the way they are launched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from icd.pipeline.arms import Prepared
from icd.pipeline.device import enter
from icd.pipeline.experiment import Experiment
from icd.pipeline.measuring import lay_out, load_values, step_of

WARM_UP = 5  # forwards before the profiled one: the caches then hold what a forward leaves


def profile(
    experiment: Experiment,
    prepared: Prepared,
    arm: str,
    repetition: int,
    device: str,
    tell: Callable[..., None],
) -> dict[str, Any]:
    """Run the arm's step under the profiler; ``{"executed": ...}`` says what ran."""
    import torch

    enter(device)
    recipe = next(a for a in prepared.arms if a.name == arm)
    workload = lay_out(recipe, load_values(prepared), experiment.seed, repetition, 0)
    step = step_of(without_graph(experiment), recipe, workload, device)
    for _ in range(WARM_UP):
        step()
    torch.cuda.synchronize()
    cudart: Any = torch.cuda.cudart()
    cudart.cudaProfilerStart()
    step()
    torch.cuda.synchronize()
    cudart.cudaProfilerStop()
    return {"executed": dict(step.executed)}


def without_graph(experiment: Experiment) -> Experiment:
    """The same experiment with an engine that launches every kernel by itself."""
    runtime: Any = experiment.runtime
    return dataclasses.replace(experiment, runtime=dataclasses.replace(runtime, cuda_graph=False))
