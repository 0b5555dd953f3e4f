"""Figures of a device that is simulated, from the layer shapes that an arm executed."""

from __future__ import annotations

from collections.abc import Mapping

from icd.contracts import Sample, Step, Workload
from icd.pipeline.experiment import Experiment


def simulate_steps(
    experiment: Experiment,
    steps: Mapping[str, Step],
    workload: Workload,
    allocation: int,
) -> list[Sample]:
    """Simulated figures of the executed layer shapes on the inputs of ``workload``; one a metric and arm."""
    from icd.measure.simulate import executed_reads, simulate

    out: list[Sample] = []
    for position, (name, step) in enumerate(steps.items()):
        figures = simulate(
            executed_reads(step.module, workload.inputs),
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
