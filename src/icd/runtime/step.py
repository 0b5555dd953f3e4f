"""The step that is timed: one forward of a prepared module on fixed inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icd.copies import sharing
from icd.runtime.accelerate import Switch, capture, compile_layers, compile_now, switched_on

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs, PrecisionSpec, Workload


@dataclass(frozen=True)
class ModuleStep:
    """Runs ``forward(module, inputs)`` without autograd; inputs already lie on the device.

    With ``replay`` a call replays a CUDA graph, whose result is always the tensor ``output``.
    """

    module: torch.nn.Module
    forward: Callable[[torch.nn.Module, Inputs], torch.Tensor]
    inputs: Inputs
    device: str
    executed: Mapping[str, Any]
    replay: Callable[[], None] | None = None
    output: torch.Tensor | None = None

    def __call__(self) -> torch.Tensor:
        """Run on the timed inputs."""
        import torch

        if self.replay is not None:
            assert self.output is not None
            self.replay()
            return self.output
        with torch.inference_mode():
            return self.forward(self.module, self.inputs)

    def on(self, inputs: Inputs) -> torch.Tensor:
        """Run on other inputs through the same weights; compiled layers run uncompiled at other shapes."""
        import torch

        placed = place(inputs, self.device, floating_dtype(self.module))
        with torch.inference_mode():
            if "compile" not in self.executed:
                return self.forward(self.module, placed)
            with torch.compiler.set_stance("force_eager"):
                return self.forward(self.module, placed)


def make_step(
    module: torch.nn.Module,
    workload: Workload,
    precision: PrecisionSpec,
    device: str,
    *,
    compile: Switch,
    cuda_graph: Switch,
    executed: Mapping[str, Any],
) -> ModuleStep:
    """Cast ``module``, compile it and capture its forward, as asked; the record says what was done."""
    import torch

    if workload.fuse is not None:
        module = sharing(module)
        workload.fuse(module)
        executed = {**executed, "fused": workload.fuse.__name__}
    module, record = precision.cast(module, device)
    inputs = place(workload.inputs, device, floating_dtype(module))
    record = {**executed, **record, **workload.choices(device)}
    if switched_on(compile, device):
        record |= compile_layers(module)

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return workload.forward(module, inputs)

    if "compile" in record:
        compile_now(forward)
    graph = switched_on(cuda_graph, device)
    record["cuda_graph"] = graph
    replay, output = capture(forward) if graph else (None, None)
    return ModuleStep(module, workload.forward, inputs, device, record, replay, output)


def floating_dtype(module: torch.nn.Module) -> torch.dtype:
    """The dtype of the module's floating parameters."""
    import torch

    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def place(inputs: Inputs, device: str, dtype: torch.dtype) -> Inputs:
    """``inputs`` on ``device``; floating tensors in ``dtype``."""
    return {
        name: x.to(device=device, dtype=dtype if x.is_floating_point() else x.dtype)
        for name, x in inputs.items()
    }
