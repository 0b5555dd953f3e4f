"""A small MLP stack with planted groups of neurons, for machines and tests without a real model.

Neurons of one group read the same inputs and write the same outputs, so the co-access graph of the
weights is the planted partition. Half of each group is strong and half weak: a transform that removes
half of the channels leaves every group half alive. What executes is real torch code; the device it
would run on is simulated, and every figure of that device says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from icd.contracts import Footprint, ModelCard, Workload
from icd.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from icd.contracts import Inputs


@dataclass(frozen=True)
class Mock:
    """``layers`` residual MLPs of ``neurons`` in groups of ``group``, shuffled by ``seed``."""

    simulated: ClassVar[bool] = True
    tiny: ClassVar[Mapping[str, int]] = {"layers": 2, "width": 64, "neurons": 256, "group": 64}

    name: str
    layers: int
    width: int
    neurons: int
    group: int
    noise: float
    default_batch_size: int
    default_seq_len: int
    batch_size: int | None
    seq_len: int | None
    seed: int

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.neurons, self.group) < 1:
            raise ConfigError("model=mock: layers, width, neurons and group must be 1 or more")
        if self.neurons % self.group or self.width % (self.neurons // self.group):
            raise ConfigError(
                f"model=mock: neurons={self.neurons} must be a multiple of group={self.group}, and "
                f"width={self.width} a multiple of the number of groups"
            )

    def check(self) -> None:
        """Nothing is needed."""

    def resolve(self) -> Mock:
        """Nothing is left open."""
        return self

    def footprint(self) -> Footprint:
        """Of the stack: three hidden states and both sides of the activation function."""
        rows, length = self.batch_size or self.default_batch_size, self.seq_len or self.default_seq_len
        return Footprint(
            params=self.layers * (2 * self.width * self.neurons + 3 * self.width + self.neurons),
            tokens=rows * length,
            activations=4 * rows * length * (3 * self.width + 2 * self.neurons),
            channels=self.layers * self.neurons,
            sites=self.layers,
        )

    def build(self) -> Workload:
        """The stack in float32 on the CPU with random inputs."""
        import torch

        from icd.model.mock_module import MockStack

        generator = torch.Generator().manual_seed(self.seed)
        module = MockStack(self.layers, self.width, self.neurons)
        with torch.no_grad():
            for block in module.layers:
                self._plant(block, generator)
        module.eval().requires_grad_(False)
        batch, seq_len = self.batch_size or self.default_batch_size, self.seq_len or self.default_seq_len

        def draw() -> Inputs:
            return {"x": torch.randn(batch, seq_len, self.width, generator=generator)}

        return Workload(
            module=module,
            forward=_forward,
            inputs=draw(),
            sites=module.sites(),
            card=ModelCard(
                name=self.name,
                family="mock",
                params=sum(p.numel() for p in module.parameters()),
                weights="planted",
                source=f"seed {self.seed}",
                tags=("simulated",),
                simulated=True,
            ),
            calibration=(draw(), draw()),
            probes=(draw(),),
            tokens=batch * seq_len,
            batch_dims={"x": 0},
        )

    def _plant(self, block: torch.nn.Module, generator: torch.Generator) -> None:
        """Planted weights of one layer: background noise, and one strong patch a group."""
        import torch

        groups = self.neurons // self.group
        span = self.width // groups
        scale = self.width**-0.5
        up = torch.randn(self.neurons, self.width, generator=generator) * self.noise
        down = torch.randn(self.width, self.neurons, generator=generator) * self.noise
        strength = torch.ones(self.group)
        strength[self.group // 2 :] = 0.5
        for g in range(groups):
            rows, cols = slice(g * self.group, (g + 1) * self.group), slice(g * span, (g + 1) * span)
            up[rows, cols] += (1 + 0.1 * torch.randn(self.group, span, generator=generator)) * strength[
                :, None
            ]
            down[cols, rows] += (1 + 0.1 * torch.randn(span, self.group, generator=generator)) * strength
        shuffle = torch.randperm(self.neurons, generator=generator)
        block.up.weight.copy_(up[shuffle] * scale)
        block.up.bias.copy_(torch.randn(self.neurons, generator=generator) * 0.01)
        block.down.weight.copy_(down[:, shuffle] * scale)
        block.down.bias.zero_()


def _forward(module: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
    """(batch, seq_len, width) to the same shape."""
    return module(inputs["x"])
