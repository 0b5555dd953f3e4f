"""Quality of every arm through its timed step, and what that step says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from icd.contracts import Missing, Step, Workload
from icd.pipeline.experiment import Experiment

KEPT = 1 << 28  # bytes of the reference's outputs


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
    """The dense model in float32 on the CPU as a step; every arm asks for the same, which is kept."""

    def __init__(self, dense: Workload) -> None:
        self.dense = dense
        self.said: list[tuple[Any, Any]] = []  # inputs and output, of `KEPT` bytes at most
        self.room = KEPT
        self.module = dense.module
        self.executed: Mapping[str, Any] = {"engine": "masked", "format": "fp32"}

    def __call__(self) -> Any:
        """Run on the timed inputs."""
        return self.on(self.dense.inputs)

    def on(self, inputs: Any) -> Any:
        """Run on ``inputs``."""
        import torch

        for known, out in self.said:
            if known is inputs:
                return out
        with torch.inference_mode():
            out = self.dense.forward(self.dense.module, inputs)
        if out.nbytes <= self.room:
            self.said.append((inputs, out))
            self.room -= out.nbytes
        return out


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
