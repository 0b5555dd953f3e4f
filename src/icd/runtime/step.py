"""The step that is timed: one forward of a prepared module on fixed inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs


@dataclass(frozen=True)
class ModuleStep:
    """Runs ``forward(module, inputs)`` without autograd; inputs already lie on the device."""

    module: torch.nn.Module
    forward: Callable[[torch.nn.Module, Inputs], torch.Tensor]
    inputs: Inputs
    device: str
    executed: Mapping[str, Any]

    def __call__(self) -> torch.Tensor:
        """Run on the timed inputs."""
        import torch

        with torch.inference_mode():
            return self.forward(self.module, self.inputs)

    def on(self, inputs: Inputs) -> torch.Tensor:
        """Run on other inputs through the same module."""
        import torch

        with torch.inference_mode():
            return self.forward(self.module, place(inputs, self.device, floating_dtype(self.module)))


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
