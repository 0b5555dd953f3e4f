"""One measurement of a run's arms: the measuring processes, then the profiled forwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icd.contracts import Sample
from icd.measure.power import PowerRow
from icd.pipeline.arms import Prepared
from icd.pipeline.console import Console
from icd.pipeline.experiment import Experiment
from icd.pipeline.isolate import Listener, run_child
from icd.pipeline.profiling import L2Record, profile_arms

AROUND = (
    *("throttling", "no_energy", "no_cold", "built", "blocks", "load_start", "load_1min"),
    *("clocks_set", "other_processes"),
)
Log = Callable[..., None]


@dataclass(frozen=True)
class Measurement:
    """Raw results of every arm of ``prepared``; ``samples`` hold those of ``l2`` as well.

    ``processes``: what each measuring process returned, without its samples.
    """

    prepared: Prepared
    processes: list[Mapping[str, Any]]
    samples: list[Sample]
    power: list[PowerRow]
    l2: L2Record

    def environment(self) -> list[dict[str, Any]]:
        """What each process ran on, for ``env.json``."""
        return [
            {
                **p["environment"],
                **{key: p[key] for key in AROUND},
                **({"hardware": p["hardware"]} if p["hardware"] else {}),
            }
            for p in self.processes
        ]


Keep = Callable[[Measurement], None]


def measure_arms(
    experiment: Experiment,
    prepared: Prepared,
    work: Path,
    listen: Listener,
    console: Console,
    log: Log,
    keep: Keep,
) -> Measurement:
    """Measure every arm in fresh processes; ``work`` is private to the run.

    Where a process fails, ``keep`` gets what those before it measured.
    """
    count = 1 if experiment.model.simulated else experiment.measure.processes
    device = prepared.facts["device"]
    taken = Measurement(prepared, [], [], [], L2Record(missing="a process failed before"))
    try:
        for process in range(count):
            console.process(process, count)
            arguments = {"experiment": experiment, "prepared": prepared, "process": process, "device": device}
            result = run_child("measure", arguments, work, listen)
            taken.samples.extend(result.pop("samples"))
            taken.power.extend(result.pop("power"))
            taken.processes.append(result)
            log("measure", process=process, of=count)
        l2 = profile_arms(experiment, prepared, work, listen)
    except Exception:
        if taken.processes:
            keep(taken)
        raise
    log("profile", ok=not (l2.runs and l2.missing), runs=len(l2.runs), reason=l2.missing)
    return replace(taken, samples=[*taken.samples, *l2.samples], l2=l2)
