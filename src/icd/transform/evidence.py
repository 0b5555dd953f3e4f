"""Whether what reads pruned sites can be refitted, and whether there are calibration tokens enough.

Refits are of linear layers that a forward calls. At least as many tokens as a layer has live inputs are
enough: with fewer, infinitely many weights fit the tokens alike, and the ridge alone chooses among them.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from icd.contracts import Workload
from icd.tensors import every_name, tensor
from icd.watching import watch_consumer

if TYPE_CHECKING:
    import torch


def changed_consumers(pruned: Workload, dense: Workload) -> set[str]:
    """Modules that read a site of which something was removed; both workloads in dense order."""
    import torch

    return {
        site.activation
        for site in pruned.sites
        for axis in site.axes
        if not site.output
        and not torch.equal(tensor(pruned.module, axis.parameter), tensor(dense.module, axis.parameter))
    }


def unfit(pruned: Workload, dense: Workload) -> str | None:
    """A clause on the first changed consumer that cannot be refitted; None where all can.

    A layer whose weight has another name serves elsewhere too: refitted here, it would change there.
    """
    from torch import nn

    shared = Counter(id(value) for _, value in every_name(pruned.module))
    for name in sorted(changed_consumers(pruned, dense)):
        owner = pruned.module.get_submodule(name.rpartition(".")[0])
        consumer = pruned.module.get_submodule(name)
        if not isinstance(consumer, nn.Linear):
            return f"{name} is a {type(consumer).__name__}, and linear layers alone are refitted"
        if isinstance(owner, nn.MultiheadAttention):
            return f"{name} is never called: torch's MultiheadAttention multiplies with its weight itself"
        if shared[id(consumer.weight)] > 1:
            return f"the weight of {name} is used in more than one place"
    return None


def tokens_entering(workload: Workload, names: set[str]) -> Counter[str]:
    """Positions that enter each of the linear layers ``names`` in a first call, over all batches."""
    import torch

    total: Counter[str] = Counter()
    batch_first: dict[str, int] = {}

    def see(name: str, x: torch.Tensor) -> None:
        batch_first.setdefault(name, x[..., 0].numel())

    hooks = [hook for n in names for hook in watch_consumer(workload.module, n, partial(see, n))]
    try:
        with torch.inference_mode():
            for batch in workload.calibration:
                batch_first.clear()
                workload.forward(workload.module, batch)
                total.update(batch_first)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def shortfall(pruned: Workload, dense: Workload) -> str | None:
    """A clause that says so where a changed consumer has more live inputs than tokens enter it.

    Live inputs are the weights that are left in one output row, the most of any row.
    """
    from torch import nn

    live = {}
    for name in sorted(changed_consumers(pruned, dense)):
        consumer = pruned.module.get_submodule(name)
        if isinstance(consumer, nn.Linear):  # what is none is refused where it would be refitted
            live[name] = int((consumer.weight != 0).sum(1).max())
    tokens = tokens_entering(pruned, set(live))
    lacking = max(live, key=lambda name: live[name] - tokens[name], default="")
    if not lacking or tokens[lacking] >= live[lacking]:
        return None
    return f"{tokens[lacking]} calibration tokens are fewer than the {live[lacking]} live inputs of {lacking}"
