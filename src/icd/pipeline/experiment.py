"""One experiment: every part that a configuration names, built and checked together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from icd.contracts import Engine, Graph, Model, PrecisionSpec, Quality, Transform
from icd.errors import ConfigError, MissingResource
from icd.measure.hardware import Hardware
from icd.pipeline.memory import check_address_space, check_host
from icd.pipeline.plans import Pipeline
from icd.places import data_dir
from icd.runtime.auto import Auto
from icd.samples import MOST_ROWS
from icd.solver.base import LayoutSolver

LONGEST_AUTO = 20  # iterations of a block where measure.repeats=auto


@dataclass(frozen=True)
class Experiment:
    """The parts of one run; ``lock`` is the resolved configuration they were built from."""

    model: Model
    graph: Graph
    solver: LayoutSolver
    transform: Transform
    precision: PrecisionSpec
    runtime: Engine
    measure: Any
    quality: Quality
    hardware: Any
    pipeline: Pipeline
    gate: Any
    tracking: Any
    bridge: Any
    gates: Mapping[str, Any]
    lock: Mapping[str, Any]
    sparsity: float
    seq_len: int | None
    batch_size: int | None
    seed: int
    device: str
    on_missing: str

    def check(self) -> None:
        """What no single part can see: missing resources and combinations that cannot be run."""
        check_address_space()
        data_dir()
        self.model.check()
        self._check_samples()
        footprint = self.model.footprint()
        if footprint is not None:
            arms, allocations = len(self.pipeline.arms), self.measure.allocations
            check_host(self.model.name, footprint, arms, allocations, self.device)
        if self.model.simulated and not isinstance(self.hardware, Hardware):
            raise ConfigError(
                f"model={self.model.name} is simulated and needs a device's figures; "
                "use hardware=mock or a named GPU"
            )
        if self.model.simulated and isinstance(self.runtime, Auto):
            raise ConfigError(
                f"runtime=auto chooses by measured time and model={self.model.name} is simulated; "
                "use runtime=compact or runtime=masked"
            )
        if self.device.startswith("cuda") and not cuda_driver():
            raise MissingResource(
                f"device={self.device}: no NVIDIA driver answers on this machine; "
                "use device=cpu or device=auto"
            )
        if self.device == "cpu" or (self._wants_graph and not cuda_driver()):
            self.check_device("cpu")
        if self.gate.name != "none" and self.pipeline.name != "iterative":
            raise ConfigError(
                f"gate={self.gate.name} judges iterative against linear and pipeline={self.pipeline.name} "
                "has no iterative arm; use pipeline=iterative or gate=none"
            )

    def _check_samples(self) -> None:
        """ConfigError where the record could not be read again: a block has two times per iteration."""
        asked, arms = self.measure, len(self.pipeline.arms)
        repeats = LONGEST_AUTO if asked.repeats == "auto" else asked.repeats
        samples = 2 * asked.processes * asked.allocations * asked.rounds * arms * repeats
        if samples > MOST_ROWS:
            raise ConfigError(
                f"measure: {asked.processes} processes x {asked.allocations} allocations x {asked.rounds} "
                f"rounds x {arms} arms x {repeats} iterations are {samples:,} samples, "
                f"and a record holds {MOST_ROWS:,}; lower measure.repeats or measure.rounds"
            )

    @property
    def _wants_graph(self) -> bool:
        return getattr(self.runtime, "cuda_graph", "auto") is True

    def check_device(self, device: str) -> None:
        """ConfigError where ``device``, now that it is known, cannot do what was asked of the runtime."""
        if self._wants_graph and not device.startswith("cuda"):
            raise ConfigError(
                f"runtime.cuda_graph=true: a CUDA graph needs an NVIDIA GPU and this run's device is "
                f"{device}; use runtime.cuda_graph=auto or false"
            )


def cuda_driver() -> bool:
    """Whether NVML finds a GPU; asks the driver, imports no framework."""
    import pynvml as nvml

    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return False
    try:
        return int(nvml.nvmlDeviceGetCount()) > 0
    finally:
        nvml.nvmlShutdown()
