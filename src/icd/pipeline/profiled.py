"""The process that ncu watches: of every arm, the graphs whose differences are its figures, one by one
between start and stop; or its forward kernel by kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from icd.contracts import Step
from icd.errors import MeasurementError
from icd.measure.cold import Flush
from icd.measure.regimes import FORWARD, sequence
from icd.pipeline.arms import Prepared
from icd.pipeline.device import enter
from icd.pipeline.experiment import Experiment
from icd.pipeline.measuring import lay_out, load_values, step_of
from icd.runtime.accelerate import capture

WARM_UP = 5  # runs before the profiled ones


def profile(
    experiment: Experiment,
    prepared: Prepared,
    arms: Sequence[str],
    graphs: Sequence[str],
    launches: int,
    repetition: int,
    captured: bool,
    device: str,
    tell: Callable[..., None],
) -> dict[str, Any]:
    """Run each of ``graphs`` of every arm ``launches`` times under the profiler, a marker before each.

    ``graphs``: of `icd.measure.regimes.GRAPHS`; without ``captured`` the forward alone, launching every
    kernel by itself. Returns ``executed`` of every arm; ``profiled``: ``[arm, graph]`` of each run, in order;
    ``refused``: why a forward cannot be captured, and then nothing else counts.
    """
    enter(device)
    values = load_values(prepared)
    flush = Flush(device)
    executed, profiled = {}, []
    for done, name in enumerate(arms):
        recipe = next(a for a in prepared.arms if a.name == name)
        workload = lay_out(recipe, values, experiment.seed, repetition, 0)
        step = step_of(experiment, recipe, workload, device)
        executed[name] = {**step.executed, **said(step, captured)}
        step = without_graph(step)  # its own graph and the graph's memory go
        try:
            runs = capture_all(graphs, step, flush) if captured else {FORWARD: step}
        except MeasurementError as error:
            refused = f"{name}: figures of the cache are those of one CUDA graph of the forward: {error}"
            return {"executed": executed, "profiled": [], "refused": refused}
        for graph in graphs:
            for _ in range(WARM_UP):
                runs[graph]()
            for _ in range(launches):
                watch(runs[graph], before=flush if captured else step)
                profiled.append([name, graph])
        del step, runs  # before the next arm's copy is made
        tell("progress", what="profiling", done=done + 1, total=len(arms))
    return {"executed": executed, "profiled": profiled, "refused": None}


def watch(run: Callable[[], object], before: Callable[[], object]) -> None:
    """``run`` under the profiler, behind a marker; ``before`` runs ahead of it, unseen."""
    import torch

    cudart: Any = torch.cuda.cudart()
    before()
    torch.cuda.synchronize()
    cudart.cudaProfilerStart()
    torch.cuda._sleep(1)
    run()
    torch.cuda.synchronize()
    cudart.cudaProfilerStop()


def capture_all(
    graphs: Sequence[str], forward: Callable[[], object], flush: Callable[[], object]
) -> dict[str, Callable[[], None]]:
    """Each of ``graphs`` captured, by its name; MeasurementError where a capture fails.

    They share one pool of memory, the shortest first: all graphs take the room of one, and a forward lies
    where the one before it lay. Results overwrite one another, unread.
    """
    import torch

    pool = torch.cuda.graph_pool_handle()
    return {
        graph: capture(sequence(graph, forward, flush), pool=pool, remedy="")[0]
        for graph in sorted(graphs, key=len)
    }


def said(step: Step, captured: bool) -> dict[str, Any]:
    """What is profiled in another way than it is timed."""
    timed = bool(step.executed.get("cuda_graph"))
    return {} if timed == captured else {"cuda_graph": captured, "cuda_graph_when_timed": timed}


def without_graph(step: Any) -> Step:
    """The very step that is timed, launching every kernel by itself.

    Nothing is planned or compiled again: without a graph, and under a profiler, a planner would choose
    otherwise.
    """
    executed = {**step.executed, "cuda_graph": False}
    return dataclasses.replace(step, replay=None, output=None, executed=executed)
