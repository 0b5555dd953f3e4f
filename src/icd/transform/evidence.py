"""Which layers a transform has changed the inputs of, and what a refit of one needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icd.contracts import Workload

if TYPE_CHECKING:
    import torch
    from torch import nn


def changed_consumers(pruned: Workload, dense: Workload) -> set[str]:
    """Modules that read a site of which something was removed; both workloads in dense order."""
    import torch

    return {
        site.activation
        for site in pruned.sites
        for axis in site.axes
        if not site.output
        and not torch.equal(
            pruned.module.get_parameter(axis.parameter), dense.module.get_parameter(axis.parameter)
        )
    }


def unsuitable(name: str, consumer: nn.Module) -> str | None:
    """Why the module ``name`` cannot be refitted at all; None for a linear layer with a weight of its own."""
    import torch

    if not isinstance(consumer, torch.nn.Linear):
        return f"{name} is a {type(consumer).__name__}, and linear layers alone are refitted"
    if "weight" not in dict(consumer.named_parameters(recurse=False)):
        return f"the weight of {name} is computed from other parameters"
    return None


def live_inputs(weight: torch.Tensor) -> int:
    """Weights that are left in one output row of ``weight`` (out, in), the most of any row."""
    return int((weight != 0).sum(1).max())
