"""Which layers a transform has changed the inputs of, and what a refit of one needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from icd.contracts import Workload
from icd.tensors import every_name, tensor

if TYPE_CHECKING:
    import torch


def changed_consumers(pruned: Workload, dense: Workload) -> set[str]:
    """Modules that read a site of which something was removed; both workloads in dense order.

    Where whole channels were removed, a site that lost none has its reader left alone, although its tensors
    lost channels of other sites (as those of a residual stream do).
    """
    import torch

    return {
        site.activation
        for site in pruned.sites
        for axis in site.axes
        if not site.output
        and (site.name in pruned.live or not pruned.live)
        and not torch.equal(tensor(pruned.module, axis.parameter), tensor(dense.module, axis.parameter))
    }


def unsuitable(module: torch.nn.Module, name: str) -> str | None:
    """Why the submodule ``name`` cannot be refitted at all; None for a linear layer with a weight of its own.

    A weight that has another name serves elsewhere too: refitted here, it would change there.
    """
    import torch

    consumer = module.get_submodule(name)
    if not isinstance(consumer, torch.nn.Linear):
        return f"{name} is a {type(consumer).__name__}, and linear layers alone are refitted"
    weight = consumer._parameters.get("weight")
    if weight is None:
        return f"the weight of {name} is computed from other parameters"
    if sum(value is weight for _, value in every_name(module)) > 1:
        return f"the weight of {name} is used in more than one place"
    return None


def live_inputs(weight: torch.Tensor) -> int:
    """Weights that are left in one output row of ``weight`` (out, in), the most of any row."""
    return int((weight != 0).sum(1).max())
