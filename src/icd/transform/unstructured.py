"""Unstructured sparsity: single weights are zeroed. The honest null: no layout finds an empty tile.

Scores as for channels: ``magnitude``, ``wanda`` (weight times the norm of its input, Sun et al. 2023, arXiv
2306.11695) and ``random``, seeded; the weakest of each output row go, as wanda compares them. No channel
dies, so a layout has nothing to gather, and that is what a run with this transform shows.
"""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from icd.contracts import Activations, Workload
from icd.errors import ConfigError
from icd.transform.channel import attention_note, check_scores
from icd.transform.groups import sites_of
from icd.transform.order import Order
from icd.transform.permute import permute, restore
from icd.watching import watch_consumer

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Unstructured:
    """Zero ``sparsity`` of the weights of every linear layer tied to a site in ``groups``.

    ``attention`` and ``order`` as for channels.
    """

    sparsity: float
    score: Literal["magnitude", "wanda", "random"]
    groups: list[str]
    seed: int
    recover: Literal["auto", "none", "lstsq"] = "none"
    attention: Literal["heads", "dims"] = "heads"
    order: Order = "sparsity_first"

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 0.95:
            raise ConfigError(f"sparsity={self.sparsity}: expected a number from 0 to 0.95")

    def needs_activations(self) -> bool:
        """Never: wanda needs norms at every layer's input and reads the calibration inputs itself."""
        return False

    def apply(self, workload: Workload, activations: Activations | None) -> Workload:
        """A copy of ``workload`` with single weights zeroed; every channel stays live."""
        import torch

        from icd.transform.recover import finish

        if self.score == "wanda" and not workload.calibration:
            raise ConfigError(
                f"transform.score=wanda needs calibration inputs and model={workload.card.name} has none; "
                "use transform.score=magnitude"
            )
        dense = restore(workload)
        names = self.layers(dense)
        if not names:
            raise ConfigError(
                f"transform=unstructured zeroes weights of linear layers and model={workload.card.name} has "
                f"none at the sites of transform.groups={self.groups}; use transform=channel or none"
            )
        norms = input_norms(dense, names) if self.score == "wanda" else {}
        module = copy.deepcopy(dense.module)
        zeroed = total = 0
        for name in names:
            weight = module.get_parameter(f"{name}.weight")
            gone = self.weakest(name, weight, norms.get(name))
            with torch.no_grad():
                weight.data.masked_fill_(gone, 0.0)
            zeroed, total = zeroed + int(gone.sum()), total + gone.numel()
        notes = attention_note(self.attention, workload) | {
            "unstructured": {"score": self.score, "layers": len(names), "zeroed": zeroed, "of": total}
        }
        return permute(finish(self.recover, dense.with_module(module, notes=notes), dense), workload.order)

    def layers(self, workload: Workload) -> list[str]:
        """Linear layers with an axis tied to a site of the groups asked for, in the order of the sites."""
        from torch import nn

        axes = [axis for site in sites_of(workload, self.groups) for axis in site.axes]
        owners = [a.parameter.removesuffix(".weight") for a in axes if a.parameter.endswith(".weight")]
        return [n for n in dict.fromkeys(owners) if isinstance(workload.module.get_submodule(n), nn.Linear)]

    def weakest(self, name: str, weight: torch.Tensor, norm: torch.Tensor | None) -> torch.Tensor:
        """Bool (out, in), the same count in every row; ties go to the lower column."""
        import torch

        rows, cols = weight.shape
        if self.score == "random":
            draw = np.random.default_rng([self.seed, zlib.crc32(name.encode())]).random((rows, cols))
            score = torch.from_numpy(draw).to(weight.device)
        else:
            score = weight.detach().double().abs()
        if norm is not None:
            score = score * norm
        if weight.any():  # of zeros alone it does not matter which are removed
            check_scores(f"layer {name}", self.score, score.cpu().numpy())
        order = torch.argsort(score, dim=1, stable=True)
        gone = torch.zeros(rows, cols, dtype=torch.bool, device=weight.device)
        return gone.scatter_(1, order[:, : round(self.sparsity * cols)], True)


def input_norms(workload: Workload, names: list[str]) -> dict[str, torch.Tensor]:
    """Root of the summed squares of each input over the calibration tokens, float64 (in,), by layer.

    ConfigError where a layer is never called.
    """
    import torch

    squares: dict[str, Any] = {}

    def see(name: str, x: torch.Tensor) -> None:
        a = x.reshape(-1, x.shape[-1])  # (tokens, in)
        squares[name] = squares.get(name, 0.0) + a.double().square().sum(0)

    hooks = [hook for n in names for hook in watch_consumer(workload.module, n, partial(see, n))]
    try:
        with torch.no_grad():
            for batch in workload.calibration:
                workload.forward(workload.module, batch)
    finally:
        for hook in hooks:
            hook.remove()
    unseen = [name for name in names if name not in squares]
    if unseen:
        raise ConfigError(
            f"transform.score=wanda: the calibration inputs never reach {unseen[0]}; "
            "use transform.score=magnitude"
        )
    return {name: total.sqrt() for name, total in squares.items()}
