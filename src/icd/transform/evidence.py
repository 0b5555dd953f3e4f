"""Whether calibration tokens are enough to refit a layer: at least as many as it has live inputs.

With fewer, infinitely many weights fit the tokens alike, and the ridge alone chooses among them.
"""

from __future__ import annotations

from icd.contracts import Workload


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


def calibration_tokens(workload: Workload) -> int:
    """Tokens of all calibration batches: positions of the first two dimensions of a batch's first input."""
    shapes = [next(iter(batch.values())).shape for batch in workload.calibration]
    return sum(int(shape[:2].numel()) for shape in shapes)


def shortfall(pruned: Workload, dense: Workload) -> str | None:
    """A clause that says so where the widest changed consumer has more live inputs than there are tokens.

    Live inputs are the weights that are left in one output row, the most of any row.
    """
    live = {}
    for name in sorted(changed_consumers(pruned, dense)):
        weight = pruned.module.get_parameter(f"{name}.weight")
        if weight.dim() == 2:  # what is no linear layer is refused where it would be refitted
            live[name] = int((weight != 0).sum(1).max())
    tokens = calibration_tokens(pruned)
    widest = max(live, key=lambda name: live[name], default="")
    if not widest or tokens >= live[widest]:
        return None
    return f"{tokens} calibration tokens are fewer than the {live[widest]} live inputs of {widest}"
