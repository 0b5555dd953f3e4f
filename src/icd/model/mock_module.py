"""The torch module behind model=mock."""

from __future__ import annotations

import torch
from torch import nn

from icd.contracts import Site
from icd.model.encoder_sites import neuron_site


class MockLayer(nn.Module):
    """``x + down(relu(up(norm(x))))``."""

    def __init__(self, width: int, neurons: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, neurons)
        self.down = nn.Linear(neurons, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same shape."""
        return x + self.down(torch.relu(self.up(self.norm(x))))


class MockStack(nn.Module):
    """A stack of `MockLayer`."""

    def __init__(self, layers: int, width: int, neurons: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MockLayer(width, neurons) for _ in range(layers))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., width) to the same shape."""
        for layer in self.layers:
            x = layer(x)
        return x

    def sites(self) -> tuple[Site, ...]:
        """The neurons of every layer."""
        return tuple(
            neuron_site(f"layers.{i}", f"layers.{i}.up", f"layers.{i}.down", layer.up.out_features)
            for i, layer in enumerate(self.layers)
        )
