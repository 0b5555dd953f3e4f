"""L2 and DRAM traffic of every arm, read by ncu in processes of its own, apart from all timing.

The parent's side: it starts `icd.pipeline.profiled` under ncu, reads what ncu wrote, and tries again. A
repetition is one such process with fresh copies of all arms, and the unit of an interval. What warm and cold
mean, and how their figures follow from two profiled graphs each, says `icd.measure.regimes`. One more process
looks at single kernels, in a cache of ncu's making.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icd.contracts import Missing, Sample
from icd.measure.l2 import FLAGS, Failure, Rates, sums
from icd.measure.regimes import FORWARD, GRAPHS
from icd.pipeline.arms import Prepared
from icd.pipeline.energy import SIMULATED
from icd.pipeline.experiment import Experiment
from icd.pipeline.isolate import Listener, run_child
from icd.pipeline.ncunames import check_names
from icd.pipeline.underncu import Outcome, Runner, Visit, find_ncu, ncu_version
from icd.stats.design import rounds

SCHEMA = "icd.ncu/2"  # of ncu.json; without one: a record of before, that has no ``base``
LAUNCHES = 3  # profiles of each graph of an arm in a repetition
SUFFIX = {"warm": "", "cold": "_cold"}  # regime -> of a metric's name
WITHOUT_KERNELS = ("aa", "shuffle", "sliced")  # controls: their kernels are those of an arm beside them


@dataclass
class L2Record:
    """Samples, the content of ``ncu.json``, and why a figure is not there.

    ``runs``: one entry an arm, repetition and regime, with the graph whose profiles its launches are, the
    graph subtracted, and in ``base`` the sums of each of that one's profiles; ``processes``: one a process
    under ncu, with its attempts; ``kernels``: one an arm, its kernels by DRAM bytes; ``no_kernels``: why
    there are none. ``metrics``: those read, where ncu said beforehand that it has them; ``unchecked``: why it
    did not.
    """

    samples: list[Sample] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    processes: list[dict[str, Any]] = field(default_factory=list)
    kernels: list[dict[str, Any]] = field(default_factory=list)
    missing: str | None = None
    no_kernels: str | None = None
    version: str | None = None
    metrics: tuple[str, ...] | None = None
    unchecked: str | None = None
    asked: int = 0  # repetitions

    def as_json(self) -> dict[str, Any]:
        """``ncu.json``."""
        return {
            "schema": SCHEMA,
            "flags": list(FLAGS),
            "version": self.version,
            "metrics": self.metrics,
            "metrics_reason": self.unchecked,
            "processes": self.processes,
            "runs": self.runs,
            "reason": self.missing,
            "kernels": self.kernels,
            "kernels_reason": self.no_kernels,
        }


def profile_arms(
    experiment: Experiment,
    prepared: Prepared,
    work: Path,
    listen: Listener,
    *,
    child: Callable[..., Any] = run_child,
    find: Callable[[], str | Missing] = find_ncu,
) -> L2Record:
    """Profile all arms in ``measure.ncu_repetitions`` processes; ``process`` of a sample is the repetition.

    A process that fails is started again, three times in all. Nothing is profiled after a failure that
    is final, or when the first repetition failed every time.
    """
    record = L2Record(asked=experiment.measure.ncu_repetitions)
    off = why_not(experiment, prepared)
    ncu = Missing(off) if off else find()
    if isinstance(ncu, Missing):
        record.missing = record.no_kernels = record.unchecked = ncu.reason
        return record
    record.version = ncu_version(ncu)
    names_there = check_names(ncu)
    if isinstance(names_there, Failure):
        record.missing = record.no_kernels = record.unchecked = names_there.reason
        return record
    record.metrics, record.unchecked = names_there
    names = [arm.name for arm in prepared.arms]
    run = Runner(experiment, prepared, ncu, work, listen, child, record.processes)
    for repetition, order in enumerate(
        rounds(len(names), experiment.measure.ncu_repetitions, experiment.seed)
    ):
        visit = Visit([names[i] for i in order], tuple(GRAPHS), LAUNCHES, repetition, captured=True)
        outcome = run(visit)
        if isinstance(outcome, Failure):
            record.missing = outcome.reason
            if outcome.final or not record.samples:
                record.no_kernels = outcome.reason
                return record
        else:
            _add(record, visit, outcome)
    if not experiment.measure.ncu_kernels:
        record.no_kernels = "measure.ncu_kernels=false"
        return record
    own = [name for name in names if name not in WITHOUT_KERNELS]
    outcome = run(Visit(own, ("warm",), 1, 0, captured=False))
    if isinstance(outcome, Failure):
        record.no_kernels = outcome.reason
        return record
    for name in own:
        (found,) = outcome.profiles[name, FORWARD]
        record.kernels.append(
            {"arm": name, "kernels": len(found.kernels), "sums": sums(found), "top_kernels": found.top()}
        )
    return record


def why_not(experiment: Experiment, prepared: Prepared) -> str | None:
    """Why nothing is profiled before ncu is even looked for."""
    if experiment.model.simulated:
        return SIMULATED
    if not prepared.facts["device"].startswith("cuda"):
        return "the device is a CPU: L2 and DRAM traffic are read from an NVIDIA GPU's counters"
    reason: str | None = experiment.measure.no_l2()
    return reason


def _add(record: L2Record, visit: Visit, outcome: Outcome) -> None:
    """Samples and entries of one repetition."""
    for position, arm in enumerate(visit.arms):
        for regime in visit.regimes:
            record.runs.append(
                {
                    "arm": arm,
                    "repetition": visit.repetition,
                    "regime": regime,
                    "graphs": list(GRAPHS[regime]),
                    "executed": outcome.executed[arm],
                    "launches": outcome.launches[arm, regime],
                    "base": [sums(p) for p in outcome.profiles[arm, GRAPHS[regime][1]]],
                }
            )
            record.samples += samples_of(record.runs[-1], position)


def samples_of(run: Mapping[str, Any], position: int) -> list[Sample]:
    """The samples of one entry of ``runs``; ``position`` of its arm in the repetition."""
    row = Sample(
        run["arm"], "", run["repetition"], 0, 0, position, 0, 0.0, "", str(run["executed"]["source"])
    )  # fmt: skip
    return [
        row._replace(
            metric=metric + SUFFIX[run["regime"]],
            iteration=iteration,
            value=launch[metric],
            unit="B" if "bytes" in metric else "%",
        )
        for iteration, launch in enumerate(run["launches"])
        for metric in Rates.__dataclass_fields__
    ]
